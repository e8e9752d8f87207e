/** `torghut history`: bars, signals, decisions and executions over HTTP, read-only. */
import type { Command } from 'commander';
import { runHistory } from '../daemons/history/daemon.ts';
import { parsePort } from '../embedded/ports.ts';
import { resolveRunHome } from '../lib/service/home.ts';

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--port <n>', 'port, 0 for a free one (default: TORGHUT_HISTORY_PORT, 8190)', parsePort)
    .option('--account <label>', 'account of decisions and executions (default: TRADING_ACCOUNT_LABEL, else the mode)')
    .addHelpText(
      'after',
      '\nGET /api/torghut/symbols, ta/latest, ta/bars, ta/signals, trading/strategies, trading/summary, trading/days,\n' +
        'trading/decisions, trading/executions. Ranges are bounded and come in pages: repeat with cursor=<next_cursor>.\n' +
        '\nExamples:\n  torghut history --port 0\n  torghut history --home ./run --port 8190 --account paper\n' +
        "  curl 'http://127.0.0.1:8190/api/torghut/ta/bars?symbol=SPY&from=2013-10-08T13:30:00Z&to=2013-10-08T14:30:00Z&step=60'",
    )
    .action(async (options: { home?: string; port?: number; account?: string }) => {
      const { port, account } = options;
      process.exitCode = await runHistory({ home: resolveRunHome(options.home), port, account });
    });
}
