/**
 * Does what a plan of migration-plan.ts says, alone: under the lock of the database (migration-lock.ts) and on the facts that
 * the plan rests on.
 * Guarantees: a run that was cut off anywhere is finished by a repeat, whose plan has what is left; facts that changed since the
 * plan are refused (`plan_changed`, exit 4), unless nothing is left to do.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { refusedError } from '../service/errors.ts';
import { convertTable, findConversions } from './conversion.ts';
import { layoutOf } from './layout.ts';
import { underMigrationLock } from './migration-lock.ts';
import { layoutStatements, type MigrationPlan, type MigrationWish, prepareMigration } from './migration-plan.ts';
import { recordStatements } from './run-record.ts';
import { applyMigrations, changeTtl, command, migrateSignalStore } from './schema.ts';
import { derivedStatements, dropDerivedStatements } from './views.ts';

/**
 * @param wish what the plan was made for
 * @returns the versions that were applied by this call, and the tables that were converted
 * @throws `migration_running`, `plan_changed` (exit 4), and as prepareMigration
 */
export async function runMigration(
  client: ClickHouseClient,
  plan: MigrationPlan,
  wish: MigrationWish,
): Promise<{ applied: number[]; converted: string[] }> {
  return underMigrationLock(client, plan.database, layoutOf(plan.cluster), async () => {
    const now = await prepareMigration(client, wish);
    if (now.plan.statements.length === 0) return { applied: [], converted: [] };
    if (now.plan.id !== plan.id) {
      throw refusedError({
        code: 'plan_changed',
        what: `the plan is ${now.plan.id}, not ${plan.id}`,
        why: 'the database has changed since the plan was made',
        next: 'read the plan again and confirm its new id',
      });
    }
    const { target, layout, record, changesLayout, changesTtl, remakesViews } = now;
    const { database } = target;
    if (!record) for (const statement of recordStatements(target, layout)) await command(client, statement);
    if (remakesViews) for (const statement of dropDerivedStatements(database, layout)) await command(client, statement);
    const ttlDays = changesTtl ? (record?.ttl_days ?? undefined) : target.ttlDays;
    const question = { database, ttlDays, layout, runId: target.runId };
    for (const conversion of now.plan.conversions) await convertTable(client, question, conversion);
    if (changesLayout) for (const statement of layoutStatements(target, layout)) await command(client, statement);
    // The TTL before the check of the migrations: until the record says the wanted one, they would refuse it.
    if (changesTtl) await changeTtl(client, target);
    if (!changesLayout) {
      const applied = (await migrateSignalStore(client, target)).applied;
      if (remakesViews) for (const statement of derivedStatements(database, layout)) await command(client, statement);
      return { applied, converted: now.plan.conversions.map(({ table }) => table) };
    }
    const applied = await applyMigrations(client, target, layout);
    if ((await findConversions(client, question)).length > 0) throw new Error('a conversion is left over');
    return { applied, converted: now.plan.conversions.map(({ table }) => table) };
  });
}
