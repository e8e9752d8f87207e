/** `torghut ws`: the forwarder of market data and order events into the event log. */
import { type Command, InvalidArgumentError } from 'commander';
import { runWsDaemon } from '../daemons/ws/run.ts';
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
    .description('Forward market data and order events from Alpaca (or the simulator) into the event log')
    .option('--home <dir>', 'home of the run')
    .option('--port <n>', 'port of the health endpoint, 0 for a free one (default: HEALTH_PORT, 8080)', parsePort)
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  SYMBOLS=NVDA,AMD ALPACA_FEED=iex torghut ws\n' +
        '  SYMBOLS=BAC ALPACA_STREAM_URL=ws://127.0.0.1:4000 ALPACA_BASE_URL=http://127.0.0.1:4000 torghut ws --port 0',
    )
    .action(async (options: { home?: string; port?: number }) => {
      process.exitCode = await runWsDaemon({
        home: resolveRunHome(options.home),
        ...(options.port === undefined ? {} : { port: options.port }),
      });
    });
}
