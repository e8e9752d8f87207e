/** `torghut trade`: the trading loop of one account. */
import type { Command } from 'commander';
import { runTradeDaemon } from '../daemons/trade/daemon.ts';
import { parsePort } from '../embedded/ports.ts';
import { resolveRunHome } from '../lib/service/home.ts';

export function configure(command: Command): void {
  command
    .description('Read signals, decide, check risk, send orders and keep the ledger of one account')
    .option('--home <dir>', 'home of the run')
    .option('--port <n>', 'port of health, metrics and status (default TRADING_HTTP_PORT, else 8181)', parsePort)
    .addHelpText(
      'after',
      [
        '',
        'Nothing is decided or sent until TRADING_ENABLED=true and TRADING_KILL_SWITCH_ENABLED=false.',
        '',
        'Examples:',
        '  torghut trade --port 8181',
        '  TRADING_ENABLED=true TRADING_KILL_SWITCH_ENABLED=false TRADING_STATIC_SYMBOLS=MU,NVDA \\',
        '    TRADING_STRATEGY_CONFIG_PATH=config/strategies.example.yaml torghut trade',
      ].join('\n'),
    )
    .action(async (options: { home?: string; port?: number }) => {
      process.exitCode = await runTradeDaemon({ home: resolveRunHome(options.home), port: options.port });
    });
}
