/** `torghut clickhouse migrate`: brings the signal database to this version's schema and TTL; shows the plan first. */
import type { Command } from 'commander';
import { runOfHome } from '../daemons/sink/target.ts';
import { signalStoreSource } from '../embedded/connect.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { storeFailure } from '../lib/signals/errors.ts';
import { type MigrationPlan, planMigration } from '../lib/signals/migration-plan.ts';
import { runMigration } from '../lib/signals/migration-run.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  ttlDays?: string;
  cluster?: string;
  plan: boolean;
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--ttl-days <days>', 'days that rows are kept after their event time, or none (default: as recorded)')
    .option(
      '--cluster <name>',
      'have the tables on every replica of this cluster (default: as recorded, else one node)',
    )
    .option('--plan', 'print the plan with its statements only', false)
    .option('--dry-run', 'the same as --plan', false)
    .option('--yes', 'do not ask, where no stored row and no table can be deleted', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nA TTL under which stored rows would be deleted, and a conversion, which replaces tables, need --confirm with the id\n' +
        'of the plan. Tables of the former system, and tables in another engine or order, are converted: a shadow table is\n' +
        'filled and verified, takes the name in one step, and the old one goes when none of its rows is missing. One that\n' +
        'was cut off is finished by a repeat.\n' +
        '\nExamples:\n  torghut clickhouse migrate --plan -o json\n  torghut clickhouse migrate --ttl-days 35 --yes\n' +
        '  torghut clickhouse migrate --cluster default --plan',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      const store = signalStoreSource({ home });
      try {
        const wish = {
          database: store.database,
          cluster: options.cluster,
          ...runOfHome(home, store.isEmbedded, options.ttlDays),
        };
        const client = await store.client();
        const plan = await planMigration(client, wish);
        const isDestructive = plan.rows_past_ttl > 0 || plan.conversions.length > 0;
        const what = describePlan(plan);
        if (plan.statements.length > 0) process.stderr.write(`plan ${plan.id}: ${what}\n`);
        const dryRun = options.plan || options.dryRun;
        const consent = { ...options, what, planId: plan.id, isDestructive, dryRun };
        let done = { applied: [] as number[], converted: [] as string[] };
        let isDone = plan.statements.length === 0;
        if (!isDone && (await askConsent(consent))) {
          await store.createDatabase(plan.cluster ?? undefined);
          done = await runMigration(client, plan, wish);
          isDone = true;
        }
        const { id, ...rest } = plan;
        const shown = format === 'table' ? { ...rest, statements: plan.statements.join(';\n') } : rest;
        const result = { plan_id: id, done: isDone, applied_now: done.applied, converted_now: done.converted };
        print(renderObject({ ...result, ...shown }, format));
      } catch (error) {
        throw storeFailure(error);
      } finally {
        await store.close();
      }
    });
}

function describePlan(plan: MigrationPlan): string {
  const parts = [`run ${plan.statements.length} statements on ${plan.database}`];
  if (plan.rows_past_ttl > 0) parts.push(`which delete ${plan.rows_past_ttl} stored rows`);
  const replaced = plan.conversions.map(({ table, rows }) => `${table} (${rows} rows)`);
  if (replaced.length > 0) parts.push(`which replace ${replaced.join(', ')}`);
  return parts.join(', ');
}
