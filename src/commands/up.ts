/** torghut up: run the whole pipeline on this machine. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import type { Command } from 'commander';
import { runUp } from '../daemons/up/run.ts';
import { hashArguments, openRun, readRunFile } from '../daemons/up/run-file.ts';
import { renderSummary } from '../daemons/up/summary-text.ts';
import { systemClock } from '../lib/service/clock.ts';
import { exitCode, usageError } from '../lib/service/errors.ts';
import { torghutHome } from '../lib/service/home.ts';
import { createLifecycle, runDaemon } from '../lib/service/lifecycle.ts';
import { createLogger } from '../lib/service/logging.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';
import { describeSource } from './up-source.ts';

export function configure(command: Command): void {
  command
    .option(
      '--data <path>',
      'recorded market data, a file or a folder of .ndjson or .ndjson.gz (repeatable)',
      collect,
      [],
    )
    .option('--synthetic <seed>', 'a seeded synthetic market instead (default: seed 1)')
    .option('--from <time>', 'begin here: RFC 3339, or HH:MM New York on the day of the data')
    .option('--to <time>', 'end before this time')
    .option('--symbols <list>', 'only these symbols, comma separated')
    .option('--speed <n>', 'market seconds per second, at most', '1')
    .option('--exit-at-end', 'end when the input has ended, with a summary', false)
    .option('--home <dir>', 'home of this run (default: one named by the arguments)')
    .option('--fresh', 'begin anew: empty the home of this run first', false)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut up --synthetic 7 --speed 30\n' +
        '  torghut up --data trades.ndjson.gz --data quotes.ndjson.gz --from 09:30 --to 09:45 --speed 30 --exit-at-end -o json',
    )
    .action(async (options) => {
      process.exitCode = await up(options);
    });
}

interface RawOptions {
  data: string[];
  synthetic?: string;
  from?: string;
  to?: string;
  symbols?: string;
  speed: string;
  exitAtEnd: boolean;
  home?: string;
  fresh: boolean;
  output: string;
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function parseSpeed(text: string): number {
  const speed = Number(text);
  if (Number.isFinite(speed) && speed >= 0.1 && speed <= 1000) return Math.round(speed * 1000) / 1000;
  throw usageError({ code: 'bad_speed', what: `--speed ${text} is no speed`, next: 'give a number from 0.1 to 1000' });
}

/** `.env` of the working folder; what the environment already has wins. Only `up` reads it. */
function loadDotEnv(): void {
  if (!existsSync('.env')) return;
  for (const [name, value] of Object.entries(parseEnv(readFileSync('.env', 'utf8')))) process.env[name] ??= value;
}

async function up(options: RawOptions): Promise<number> {
  const format = parseOutputFormat(options.output);
  const speed = parseSpeed(options.speed);
  loadDotEnv();
  const log = createLogger('up');
  const source = await describeSource({
    ...options,
    hasAccount: Boolean(process.env.APCA_API_KEY_ID || process.env.ALPACA_KEY_ID),
  });
  const home = options.home ?? join(torghutHome(), 'runs', hashArguments(source.identity));
  const before = options.fresh ? undefined : readRunFile(home);
  const { run, isNew } = openRun(home, source.identity, options.fresh);
  if (before?.finished && !options.fresh) {
    print(format === 'table' ? renderSummary(before.finished) : renderObject(before.finished, format));
    process.stderr.write(`torghut: this run has ended already (home ${home}); --fresh begins it anew\n`);
    return before.finished.ok === true ? exitCode.ok : exitCode.problemFound;
  }
  const lifecycle = createLifecycle({ log, drainMs: 4_500 });
  const isTerminal = process.stdout.isTTY === true && format === 'table';
  let summary: Record<string, unknown> | undefined;
  const code = await runDaemon(lifecycle, log, async () => {
    summary = await runUp({
      home,
      run,
      isNew,
      ...(source.simulatorArguments && { simulatorArgs: source.simulatorArguments }),
      symbols: source.symbols,
      startNs: source.startNs ?? systemClock().nowNs(),
      speed: source.kind === 'alpaca' ? 1 : speed,
      exitAtEnd: options.exitAtEnd,
      show: isTerminal ? 'screen' : format === 'table' ? 'lines' : 'json',
      lifecycle,
      log,
    });
    lifecycle.stop('end of the run');
  });
  if (!summary) return code;
  print(format === 'table' ? renderSummary(summary) : renderObject(summary, format));
  return summary.ok === true ? exitCode.ok : exitCode.problemFound;
}
