/** `torghut log tail TOPIC`: records of a topic, those that are there and, with --follow, those that come. */
import type { Command } from 'commander';
import { openEventLog } from '../lib/log/open.ts';
import type { LogRecord } from '../lib/log/port.ts';
import { parseStart, tailTopic } from '../lib/log/tail.ts';
import { openClock } from '../lib/service/clock.ts';
import { kind, loadConfig } from '../lib/service/config.ts';
import { exitCode, usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';
import { TaDecoder } from '../lib/wire/ta-wire.ts';
import { registryVariables } from '../lib/wire/variables.ts';

interface Options {
  home?: string;
  from?: string;
  partition?: number;
  count?: number;
  follow: boolean;
  output: string;
}

/** @throws `bad_number` (exit 2) */
function wholeNumber(name: string, min: number): (text: string) => number {
  return (text) => {
    try {
      return kind.integer(min)(text);
    } catch (error) {
      throw usageError({ code: 'bad_number', what: `${name} ${(error as Error).message}` });
    }
  };
}

export function configure(command: Command): void {
  command
    .argument('<topic>', 'name of the topic (torghut log topics lists them)')
    .option('--from <start>', 'earliest, latest, an offset or an RFC 3339 time; without it the last records')
    .option('--partition <n>', 'only this partition', wholeNumber('--partition', 0))
    .option(
      '-n, --count <n>',
      'most records of those already there (default: 10, or all with --from)',
      wholeNumber('-n', 1),
    )
    .option('-f, --follow', 'go on with new records until Ctrl-C; JSON is then one object per line', false)
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means Kafka instead')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nAvro records are shown as JSON when TA_SCHEMA_REGISTRY_URL names their registry.\n\nExamples:\n' +
        '  torghut log tail torghut.ta.bars.1s.v1 --follow\n' +
        '  torghut log tail torghut.trades.v1 --from 2013-10-08T13:30:00Z --partition 0 -n 100 -o json',
    )
    .action(async (topic: string, options: Options) => {
      const format = parseOutputFormat(options.output);
      const from = options.from === undefined ? undefined : parseStart(options.from);
      const controller = new AbortController();
      process.once('SIGINT', () => {
        process.exitCode = exitCode.interrupted;
        controller.abort();
      });
      const home = resolveRunHome(options.home);
      const log = await openEventLog({ home, env: process.env, clock: openClock(undefined) });
      try {
        const { partition, follow } = options;
        const count = options.count ?? (from === undefined ? 10 : undefined);
        let isEmpty = true;
        const { signal } = controller;
        const { values } = loadConfig(registryVariables, process.env, Object.keys(process.env));
        const decoder = values.TA_SCHEMA_REGISTRY_URL === undefined ? undefined : new TaDecoder(values, home);
        const open = decoder && { open: (record: LogRecord) => decoder.toJson(record) };
        for await (const rows of tailTopic(log, { topic, partition, from, count, follow, signal, ...open })) {
          isEmpty = false;
          if (follow && format === 'json') for (const row of rows) print(oneLine(renderRows([row], 'json')));
          else print(renderRows(rows, format));
        }
        if (isEmpty && !follow) print(renderRows([], format));
      } finally {
        await log.close();
      }
    });
}

/** A list of one as one line of JSON. */
function oneLine(list: string): string {
  const [row] = JSON.parse(list) as unknown[];
  return JSON.stringify(row);
}
