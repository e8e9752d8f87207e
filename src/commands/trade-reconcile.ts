/** `torghut trade reconcile`: broker against ledger, order by order; records what is missing. */
import type { Command } from 'commander';
import { actorName, openOperator } from '../daemons/trade/operator.ts';
import { reconcileAccount } from '../daemons/trade/reconcile.ts';
import { listFilter } from '../lib/ledger/listing.ts';
import { renderReport } from '../lib/runbook/report.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';
import { type ChangeCommandOptions, changeOptions, tell } from './trade-control.ts';

export function configure(command: Command): void {
  changeOptions(command)
    .description('Compare the orders, fills and positions of the broker with the ledger, and record what is missing')
    .option('--since <time>', 'from a day before this market time (RFC 3339; default: the last good pass)')
    .option('--yes', 'do not ask: recording destroys nothing', false)
    .addHelpText(
      'after',
      '\nA running loop makes the passes; without one the command leads the account itself and sends no order.\n' +
        '\nExamples:\n  torghut trade reconcile --reason "after the outage" --dry-run\n' +
        '  torghut trade reconcile --since 2013-10-08T13:30:00Z --reason "after the outage" --yes -o json',
    )
    .action(async (options: ChangeCommandOptions & { since?: string }) => {
      const format = parseOutputFormat(options.output);
      const actor = actorName(options.actor);
      const { sinceMs } = listFilter({ limit: '1', ...(options.since === undefined ? {} : { since: options.since }) });
      const operator = await openOperator({
        home: resolveRunHome(options.home),
        account: options.account,
        url: options.url,
      });
      try {
        const outcome = await reconcileAccount(operator, {
          ...options,
          actor,
          sinceMs,
          yes: options.yes ?? false,
          timeoutMs: options.timeout * 1_000,
          tell,
        });
        print(renderReport(outcome.report, format, ['differences']));
        process.exitCode = outcome.exitCode;
      } finally {
        await operator.close();
      }
    });
}
