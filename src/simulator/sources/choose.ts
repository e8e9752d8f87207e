/**
 * From the words of the command line to a source: --data or --synthetic with --from, --to, --symbols.
 * Guarantees: every mistake is named before the market begins; equal arguments over equal bytes have an equal identity.
 */
import { createHash } from 'node:crypto';
import { newYorkTime, parseMarketTime } from '../../lib/market/calendar.ts';
import { usageError } from '../../lib/service/errors.ts';
import { nearestName } from '../../lib/service/nearest.ts';
import { expandPaths, type FileInspection, inspectFiles } from './inspect.ts';
import { recordedSource } from './recorded.ts';
import type { EventSource } from './source.ts';
import { syntheticSource } from './synthetic.ts';
import { SYNTHETIC_DATE, syntheticSymbols } from './synthetic-profiles.ts';

export interface SourceArguments {
  /** Files and folders; or a seed, never both. */
  data?: readonly string[] | undefined;
  synthetic?: number | undefined;
  /** RFC 3339 or HH:MM[:SS] New York. */
  from?: string | undefined;
  to?: string | undefined;
  symbols?: readonly string[] | undefined;
}

export interface ChosenSource {
  kind: 'recorded' | 'synthetic';
  /** SHA-256 over the bytes (or the seed) and the filters. */
  identity: string;
  symbols: readonly string[];
  hasBars: boolean;
  /** Market time at which the market begins: `from`, else the second of the first event. */
  startNs: bigint;
  /** Last event time where it is known before reading. */
  lastEventNs: bigint | undefined;
  fromNs: bigint | undefined;
  toNs: bigint | undefined;
  files: readonly FileInspection[];
  open(): EventSource;
}

function checkOrder(fromNs: bigint | undefined, toNs: bigint | undefined): void {
  if (fromNs === undefined || toNs === undefined || fromNs < toNs) return;
  throw usageError({ code: 'time_order', what: '--to is not after --from', next: 'give a later --to' });
}

function checkSymbols(wanted: readonly string[] | undefined, known: readonly string[]): void {
  for (const symbol of wanted ?? []) {
    if (known.includes(symbol)) continue;
    const near = nearestName(symbol, known);
    throw usageError({
      code: 'symbol_unknown',
      what: `the source has no symbol ${symbol}`,
      why: known.length <= 20 ? `it has ${known.join(', ')}` : `it has ${known.length} others`,
      ...(near ? { next: `did you mean ${near}?` } : {}),
    });
  }
}

function minimum(values: readonly (string | null)[]): bigint | undefined {
  return values.reduce<bigint | undefined>((least, text) => {
    if (text === null) return least;
    return least === undefined || BigInt(text) < least ? BigInt(text) : least;
  }, undefined);
}

async function chooseRecorded(given: SourceArguments, cachePath: string | undefined): Promise<ChosenSource> {
  const files = await inspectFiles(expandPaths(given.data ?? []), cachePath);
  const first = minimum(files.map((file) => file.first_ns));
  if (first === undefined) {
    throw usageError({
      code: 'input_empty',
      what: `there is no market message in ${files.map((file) => file.path).join(', ')}`,
      next: 'name files with messages in the form of Alpaca v2',
    });
  }
  const day = newYorkTime(minimum(files.map((file) => file.first_tick_ns)) ?? first).date;
  const fromNs = given.from === undefined ? undefined : parseMarketTime(given.from, day);
  const toNs = given.to === undefined ? undefined : parseMarketTime(given.to, day);
  checkOrder(fromNs, toNs);
  const last = files.reduce(
    (most, { last_ns }) => (last_ns !== null && BigInt(last_ns) > most ? BigInt(last_ns) : most),
    first,
  );
  if ((fromNs !== undefined && fromNs > last) || (toNs !== undefined && toNs <= first)) {
    throw usageError({
      code: 'input_empty',
      what: 'the data has nothing between --from and --to',
      next: 'choose other times',
    });
  }
  const symbols = [...new Set(files.flatMap((file) => file.symbols))].sort();
  checkSymbols(given.symbols, symbols);
  const wanted = given.symbols && given.symbols.length > 0 ? [...new Set(given.symbols)].sort() : undefined;
  const open = () => recordedSource({ files, fromNs, toNs, symbols: wanted });
  const probe = open();
  probe.close();
  const identity = createHash('sha256')
    .update(JSON.stringify(['recorded', files.map((file) => file.sha256), `${fromNs}`, `${toNs}`, wanted ?? null]))
    .digest('hex');
  return {
    kind: 'recorded',
    identity,
    symbols: probe.symbols,
    hasBars: probe.hasBars,
    startNs: probe.startNs,
    lastEventNs: toNs === undefined && !wanted ? last : undefined,
    fromNs,
    toNs,
    files,
    open,
  };
}

function chooseSynthetic(given: SourceArguments, seed: number): ChosenSource {
  const fromNs = given.from === undefined ? undefined : parseMarketTime(given.from, SYNTHETIC_DATE);
  const toNs = given.to === undefined ? undefined : parseMarketTime(given.to, SYNTHETIC_DATE);
  checkSymbols(given.symbols, syntheticSymbols);
  const symbols =
    given.symbols && given.symbols.length > 0 ? [...new Set(given.symbols)].sort() : [...syntheticSymbols];
  const open = () => syntheticSource({ seed, symbols, fromNs, toNs });
  const probe = open();
  checkOrder(probe.startNs, toNs);
  const identity = createHash('sha256')
    .update(JSON.stringify(['synthetic', 1, seed, `${fromNs}`, `${toNs}`, symbols]))
    .digest('hex');
  return {
    kind: 'synthetic',
    identity,
    symbols,
    hasBars: false,
    startNs: probe.startNs,
    lastEventNs: undefined,
    fromNs,
    toNs,
    files: [],
    open,
  };
}

/**
 * Checks the arguments and the data behind them.
 * @param cachePath where the check of files is remembered (see inspect.ts)
 * @throws usage errors and `input_broken`, all exit 2
 */
export async function chooseSource(given: SourceArguments, cachePath?: string): Promise<ChosenSource> {
  const hasData = (given.data?.length ?? 0) > 0;
  if (hasData === (given.synthetic !== undefined)) {
    throw usageError({
      code: 'source_needed',
      what: hasData ? '--data and --synthetic name two sources' : 'there is no source of market data',
      next: 'give --data PATH or --synthetic SEED, one of them',
    });
  }
  return given.synthetic === undefined ? chooseRecorded(given, cachePath) : chooseSynthetic(given, given.synthetic);
}
