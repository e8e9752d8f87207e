/** `torghut ws gaps`: the recorded gaps by channel and symbol, and what became of them. */
import type { Command } from 'commander';
import { readGaps } from '../daemons/ws/gaps.ts';
import { clockOfHome } from '../daemons/ws/topic-plan.ts';
import { ingestTopics } from '../daemons/ws/topics.ts';
import { wsVariables } from '../daemons/ws/variables.ts';
import { openEventLog } from '../lib/log/open.ts';
import { openClock } from '../lib/service/clock.ts';
import { loadConfig } from '../lib/service/config.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';
import { parseInstant } from './instant.ts';

interface Options {
  home?: string;
  symbol?: string;
  channel?: string;
  since?: bigint;
  open: boolean;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('--symbol <symbol>', 'only this symbol')
    .option('--channel <name>', 'only this channel: trades, quotes or bars')
    .option('--since <time>', 'only gaps that ended at this market time or later (RFC 3339)', parseInstant('--since'))
    .option('--open', 'only what is not in the bars; exit code 10 when there is any', false)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nStates: repaired (in the bars), late (in the repair topic, not in the bars), lost (not to be had), backfilled (in the\n' +
        'repair topic by ws backfill). The record of a gap lives as long as the status topic keeps it.\n' +
        '\nExit codes: 0, or 10 with --open when something is not in the bars.\n' +
        '\nExamples:\n  torghut ws gaps --symbol NVDA\n  torghut ws gaps --open --since 2013-10-08T13:30:00Z -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const names = ingestTopics(loadConfig(wsVariables, process.env).values);
      const log = await openEventLog({ home, env: process.env, clock: openClock(clockOfHome(home, process.env)) });
      try {
        const rows = await readGaps(log, names.status, {
          symbol: options.symbol?.toUpperCase(),
          channel: options.channel,
          sinceNs: options.since,
          isOpenOnly: options.open,
        });
        print(renderRows(rows, format));
        if (options.open && rows.length > 0) process.exitCode = exitCode.problemFound;
      } finally {
        await log.close();
      }
    });
}
