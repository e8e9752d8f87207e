/** torghut simulator: an Alpaca-compatible exchange on one loopback port, fed by recorded or synthetic market data. */
import { type Command, Option } from 'commander';
import { formatTimestampNs } from '../lib/market/time.ts';
import { exitCode, usageError } from '../lib/service/errors.ts';
import { createLifecycle, runDaemon } from '../lib/service/lifecycle.ts';
import { createLogger } from '../lib/service/logging.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';
import { runSimulator } from '../simulator/run.ts';
import { chooseSource } from '../simulator/sources/choose.ts';

interface RawOptions {
  data: string[];
  synthetic?: string;
  from?: string;
  to?: string;
  symbols?: string;
  speed: string;
  port: string;
  key?: string;
  secret?: string;
  home?: string;
  fresh: boolean;
  inspect: boolean;
  plan: 'unlimited' | 'free';
  ghostSeconds: string;
  slowClientBytes: string;
  authSeconds: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--data <path>', 'recorded messages, a file or a folder of .ndjson or .ndjson.gz (repeatable)', collect, [])
    .option('--synthetic <seed>', 'a seeded synthetic market, no file needed')
    .option('--from <time>', 'begin here: RFC 3339, or HH:MM New York on the day of the data')
    .option('--to <time>', 'end before this time')
    .option('--symbols <list>', 'only these symbols, comma separated')
    .option('--speed <n>', 'market seconds per second, when no clock file is given by TORGHUT_CLOCK', '1')
    .option('--port <n>', 'port on loopback; 0 picks a free one', '0')
    .option('--key <id>', 'accept this key id only (with --secret); any pair otherwise')
    .option('--secret <text>', 'secret of --key; better by the variable SIMULATOR_SECRET')
    .option('--home <dir>', 'home of the run: journal, clock, endpoint')
    .option('--fresh', 'begin this home anew: forget its orders and its clock', false)
    .option('--inspect', 'check the source, print what it holds, and end', false)
    .addOption(
      new Option('--plan <name>', 'free has only iex and delayed_sip, 30 symbols')
        .choices(['unlimited', 'free'])
        .default('unlimited'),
    )
    .option('--ghost-seconds <n>', 'an uncleanly dropped stream holds its slot this long (machine time)', '0')
    .option('--slow-client-bytes <n>', 'unread bytes after which a stream client gets 407', '33554432')
    .option('--auth-seconds <n>', 'time to authenticate on a stream (machine time)', '10')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut simulator --synthetic 7 --speed 30 --port 8099\n' +
        '  torghut simulator --data trades.ndjson.gz --data quotes.ndjson.gz --from 09:30 --to 09:45 -o json',
    )
    .action(async (options: RawOptions) => {
      process.exitCode = await simulate(options);
    });
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function numberOption(name: string, text: string, least: number, most: number, isWhole = true): number {
  const value = Number(text);
  if (
    text.trim() !== '' &&
    Number.isFinite(value) &&
    value >= least &&
    value <= most &&
    (!isWhole || Number.isInteger(value))
  ) {
    return value;
  }
  throw usageError({
    code: 'bad_option',
    what: `--${name} ${text} is not valid`,
    next: `give a ${isWhole ? 'whole ' : ''}number from ${least} to ${most}`,
  });
}

async function simulate(options: RawOptions): Promise<number> {
  const format = parseOutputFormat(options.output);
  const secret = options.secret ?? process.env.SIMULATOR_SECRET;
  if ((options.key === undefined) !== (secret === undefined || secret === '')) {
    throw usageError({ code: 'key_pair', what: '--key and --secret belong together', next: 'give both or neither' });
  }
  const source = {
    data: options.data,
    synthetic:
      options.synthetic === undefined
        ? undefined
        : numberOption('synthetic', options.synthetic, 0, Number.MAX_SAFE_INTEGER),
    from: options.from,
    to: options.to,
    symbols: options.symbols
      ?.split(',')
      .map((symbol) => symbol.trim().toUpperCase())
      .filter(Boolean),
  };
  if (options.inspect) {
    const chosen = await chooseSource(source);
    print(
      renderObject(
        {
          kind: chosen.kind,
          identity: chosen.identity,
          symbols: chosen.symbols,
          start: formatTimestampNs(chosen.startNs),
          last_event_ts: chosen.lastEventNs === undefined ? null : formatTimestampNs(chosen.lastEventNs),
          builds_bars: !chosen.hasBars,
          files: chosen.files.map(({ path, lines, counts, sha256 }) => ({ path, lines, counts, sha256 })),
        },
        format,
      ),
    );
    return 0;
  }
  const log = createLogger('simulator');
  const lifecycle = createLifecycle({ log, drainMs: 3_000 });
  const settings = {
    ...source,
    speed: numberOption('speed', options.speed, 0.1, 1_000, false),
    port: numberOption('port', options.port, 0, 65_535),
    key: options.key,
    secret: options.key === undefined ? undefined : secret,
    home: options.home,
    isFresh: options.fresh,
    plan: options.plan,
    ghostMs: numberOption('ghost-seconds', options.ghostSeconds, 0, 3_600, false) * 1_000,
    slowClientBytes: numberOption('slow-client-bytes', options.slowClientBytes, 1_024, 2 ** 32),
    authDeadlineMs: numberOption('auth-seconds', options.authSeconds, 0.01, 3_600, false) * 1_000,
    onReady: (port: number) =>
      print(format === 'json' ? JSON.stringify({ ready: true, port }) : `simulator on http://127.0.0.1:${port}`),
  };
  let failure: unknown;
  const code = await runDaemon(lifecycle, log, async () => {
    try {
      await runSimulator(settings, lifecycle, log);
    } catch (error) {
      failure = error;
      lifecycle.stop('start failed', exitCode.unexpected);
    }
  });
  // A mistake in the arguments or the data is told as every command tells it.
  if (failure !== undefined) throw failure;
  return code;
}
