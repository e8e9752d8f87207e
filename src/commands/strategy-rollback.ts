/** `torghut strategy rollback`: an earlier catalog back into force, or one strategy off. */
import type { Command } from 'commander';
import { actorName, openOperator } from '../daemons/trade/operator.ts';
import { rollbackStrategies } from '../daemons/trade/strategies.ts';
import { renderReport } from '../lib/runbook/report.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';
import { parseCount } from './count.ts';
import { type ChangeCommandOptions, changeOptions, tell } from './trade-control.ts';

interface Options extends ChangeCommandOptions {
  to?: number;
  disable?: string;
  file?: string;
  wait: boolean;
}

export function configure(command: Command): void {
  changeOptions(command)
    .description('Write an earlier catalog back into the file that the loop reads, or switch one strategy off in it')
    .option('--to <version>', 'version of torghut strategy history', parseCount('--to', 1, 1_000_000_000))
    .option('--disable <name>', 'switch this strategy off and leave the rest as it is')
    .option('--file <path>', 'catalog file of the loop (default TRADING_STRATEGY_CONFIG_PATH)')
    .option('--yes', 'do not ask when strategies are only switched off; anything else needs --confirm', false)
    .option('--wait', 'return when the loop has the catalog in force', false)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut strategy rollback --disable macd_rsi_default --reason "loses" --yes --wait\n' +
        '  torghut strategy rollback --to 3 --file strategies.yaml --reason "limits were wrong" --dry-run -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const actor = actorName(options.actor);
      const operator = await openOperator({
        home: resolveRunHome(options.home),
        account: options.account,
        url: options.url,
      });
      try {
        const outcome = await rollbackStrategies(operator, {
          ...options,
          actor,
          to: options.to,
          disable: options.disable,
          file: options.file,
          yes: options.yes ?? false,
          timeoutMs: options.timeout * 1_000,
          tell,
        });
        print(renderReport(outcome.report, format, ['differences', 'positions']));
        process.exitCode = outcome.exitCode;
      } finally {
        await operator.close();
      }
    });
}
