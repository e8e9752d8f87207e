/** `torghut ta`: technical analysis from the event log to bars and signals, and the sink into the signal store. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { runTaDaemon, type TaPart } from '../daemons/ta/daemon.ts';
import { resolveRunHome } from '../lib/service/home.ts';

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new InvalidArgumentError('must be a whole number from 0 to 65535');
  }
  return port;
}

export function configure(command: Command): void {
  command
    .description('Make 1-second bars and signals from the event log, and write them to the signal store')
    .addOption(new Option('--only <part>', 'run one part alone').choices(['engine', 'sink']))
    .option('--home <dir>', 'home of the run')
    .option('--port <n>', 'port of the health endpoint, 0 for a free one (default: TA_HTTP_PORT, 8082)', parsePort)
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  torghut ta --only engine --port 0\n' +
        '  KAFKA_BOOTSTRAP=localhost:9092 TA_CLICKHOUSE_URL=http://localhost:8123/torghut torghut ta',
    )
    .action(async (options: { only?: TaPart; home?: string; port?: number }) => {
      process.exitCode = await runTaDaemon({
        home: resolveRunHome(options.home),
        ...(options.only === undefined ? {} : { only: options.only }),
        ...(options.port === undefined ? {} : { port: options.port }),
      });
    });
}
