/** From the options of `up` to a source: recorded data, the synthetic market, or a configured Alpaca account. */
import { join } from 'node:path';
import { parseMarketTime } from '../lib/market/calendar.ts';
import { usageError } from '../lib/service/errors.ts';
import { torghutHome } from '../lib/service/home.ts';
import { chooseSource } from '../simulator/sources/choose.ts';

export interface SourceOptions {
  data: readonly string[];
  synthetic?: string;
  from?: string;
  to?: string;
  symbols?: string;
  /** Keys of a real account are configured and no other source is named. */
  hasAccount: boolean;
}

export interface UpSource {
  kind: 'recorded' | 'synthetic' | 'alpaca';
  /** What the run is: goes into run.json and names the home. */
  identity: Record<string, unknown>;
  symbols: readonly string[];
  /** Market begin; undefined for a real account. */
  startNs: bigint | undefined;
  /** Arguments of `torghut simulator`; undefined for a real account. */
  simulatorArguments: string[] | undefined;
}

/** Symbols as a list, upper case. */
export function symbolList(text: string | undefined): string[] | undefined {
  const symbols = text
    ?.split(',')
    .map((symbol) => symbol.trim().toUpperCase())
    .filter(Boolean);
  return symbols && symbols.length > 0 ? symbols : undefined;
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(seed)) return seed;
  throw usageError({
    code: 'bad_seed',
    what: `--synthetic ${text} is no seed`,
    next: 'give a whole number, for example 7',
  });
}

/** Checks the source and reads through its data once. @throws usage errors (exit 2) naming file and line */
export async function describeSource(options: SourceOptions): Promise<UpSource> {
  const { data, synthetic, from, to, hasAccount } = options;
  const symbols = symbolList(options.symbols);
  if (data.length === 0 && synthetic === undefined && hasAccount) return accountSource(symbols, from);
  const seed = data.length > 0 && synthetic === undefined ? undefined : parseSeed(synthetic ?? '1');
  const chosen = await chooseSource(
    { ...(data.length > 0 && { data }), synthetic: seed, from, to, symbols },
    join(torghutHome(), 'checked-inputs.json'),
  );
  const filters = [
    ...(from === undefined ? [] : ['--from', from]),
    ...(to === undefined ? [] : ['--to', to]),
    ...(symbols === undefined ? [] : ['--symbols', symbols.join(',')]),
  ];
  const source =
    chosen.kind === 'synthetic' ? ['--synthetic', String(seed)] : chosen.files.flatMap(({ path }) => ['--data', path]);
  return {
    kind: chosen.kind,
    identity: {
      source: chosen.kind,
      ...(chosen.kind === 'synthetic' ? { seed } : { files: chosen.files.map(({ path }) => path) }),
      from: from ?? null,
      to: to ?? null,
      symbols: chosen.symbols,
      sha256: chosen.identity,
    },
    symbols: chosen.symbols,
    startNs: chosen.startNs,
    simulatorArguments: [...source, ...filters],
  };
}

function accountSource(symbols: string[] | undefined, from: string | undefined): UpSource {
  const wanted = symbols ?? symbolList(process.env.SYMBOLS);
  if (!wanted) {
    throw usageError({
      code: 'symbols_missing',
      what: 'no symbols are named for the Alpaca account',
      next: 'give --symbols AAPL,MSFT or set SYMBOLS',
    });
  }
  if (from !== undefined) parseMarketTime(from, undefined);
  return {
    kind: 'alpaca',
    identity: { source: 'alpaca', symbols: wanted },
    symbols: wanted,
    startNs: undefined,
    simulatorArguments: undefined,
  };
}
