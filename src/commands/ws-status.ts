/** `torghut ws status`: the checks S1 to S7 of a running ws; read-only, the exit code names what is wrong. */
import { type Command, InvalidArgumentError } from 'commander';
import { type WaitOptions, watchStatus } from '../daemons/ws/status-command.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';
import { clusterOf, type PlaceOptions, placeOptions } from './ws-place.ts';

interface Options extends PlaceOptions {
  wait: boolean;
  timeout: number;
  output: string;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400)) throw new InvalidArgumentError('must be seconds from above 0 to 86400');
  return seconds;
}

export function configure(command: Command): void {
  placeOptions(command)
    .option('--wait', 'wait until ws is healthy, at most --timeout', false)
    .option('--timeout <seconds>', 'with --wait: machine seconds to wait', parseSeconds, 120)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 healthy, 10 connection limit, 11 authentication, 12 entitlement or symbol limit, 13 Kafka refuses,\n' +
        '14 Kafka cannot be reached, 15 the log takes nothing, 16 silence, 17 no symbols, 18 a restart is due, 20 undetermined,\n' +
        '2 no ws answers.\n' +
        '\nExamples:\n  torghut ws status\n  torghut ws status --url http://127.0.0.1:8080 --wait -o json\n' +
        '  torghut ws status --cluster --context production',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const asked: WaitOptions = {
        ...clusterOf(options),
        home: resolveRunHome(options.home),
        url: options.url,
        env: process.env,
        waitMs: options.wait ? options.timeout * 1_000 : 0,
      };
      const report = await watchStatus(asked);
      if (format === 'table') {
        const { checks, topics, channels: _, gates: __, ...summary } = report;
        print(renderObject(summary, format));
        for (const rows of [checks, topics ?? []]) if (rows.length > 0) print(`\n${renderRows(rows, format)}`);
      } else print(renderObject(report, format));
      process.exitCode = report.exit_code;
    });
}
