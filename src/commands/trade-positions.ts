/** `torghut trade positions`: what the fills say is held, beside what the broker says. */
import type { Command } from 'commander';
import { openOperator } from '../daemons/trade/operator.ts';
import { readPositions } from '../daemons/trade/positions.ts';
import { exitCode } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description('Positions by the recorded fills and by the broker; exit 10 when they differ, 11 without the broker')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--account <label>', "account (default: the running loop's, else TRADING_ACCOUNT_LABEL)")
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText('after', '\nExamples:\n  torghut trade positions\n  torghut trade positions --account paper -o json')
    .action(async (options: { home?: string; account?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const operator = await openOperator({ home: resolveRunHome(options.home), account: options.account });
      try {
        const view = await readPositions(operator);
        print(renderRows(view.rows, format));
        if (view.brokerFailure !== undefined) {
          process.stderr.write(`torghut: the broker was not asked: ${view.brokerFailure}\n`);
          process.exitCode = exitCode.cannotDetermine;
        } else if (view.drift.length > 0) {
          process.stderr.write(`torghut: differs: ${view.drift.join(' ')}\n`);
          process.exitCode = exitCode.problemFound;
        }
      } finally {
        await operator.close();
      }
    });
}
