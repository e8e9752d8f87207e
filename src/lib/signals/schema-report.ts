/**
 * The live schema of a signal database against the expected one, for `torghut clickhouse schema`. Changes nothing and never
 * throws for drift: it is named. On a cluster every replica is asked, and each difference says where it is.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { describeError } from '../service/errors.ts';
import type { LiveTable } from './live.ts';
import { appliedOf, type MigrationPlan, readFacts } from './migration-plan.ts';
import { checkedName, migrations, refuseOtherChecksum, schemaVersion } from './schema.ts';

export interface SchemaReport {
  database: string;
  run_id: string | null;
  ttl_days: number | null;
  cluster: string | null;
  version: number;
  expected_version: number;
  applied: MigrationPlan['applied'];
  tables: LiveTable[];
  /** Everything that is not as expected; empty when the schema is as this code makes it. */
  drift: string[];
}

/** The live schema against the expected one, as one server has it. */
export async function reportSchema(client: ClickHouseClient, name: string): Promise<SchemaReport> {
  const database = checkedName(name);
  const { record, applied, live, views, databaseExists: exists } = await readFacts(client, database);
  const version = Math.max(0, ...applied.keys());
  const drift: string[] = [];
  if (!exists) drift.push(`the database ${database} does not exist`);
  else if (!record) drift.push(`the database ${database} has no record of a run: it was never migrated`);
  else if (version > schemaVersion)
    drift.push(`schema version ${version} is newer than this torghut knows (${schemaVersion})`);
  else if (version < schemaVersion) drift.push(`schema version ${version}, expected ${schemaVersion}`);
  for (const migration of migrations) {
    const known = applied.get(migration.version);
    if (known === undefined) continue;
    try {
      refuseOtherChecksum(database, migration, known);
    } catch {
      drift.push(`migration ${migration.version} has another checksum than this version's`);
    }
  }
  for (const table of live) drift.push(...table.drift.map((item) => `${table.table}: ${item}`));
  for (const [view, found] of views) drift.push(...found.map((item) => `${view}: ${item}`));
  return {
    database,
    run_id: record?.run_id ?? null,
    ttl_days: record?.ttl_days ?? null,
    cluster: record?.cluster ?? null,
    version,
    expected_version: schemaVersion,
    applied: appliedOf(applied),
    tables: live.map(shownTable),
    drift,
  };
}

const shownTable = ({
  table,
  exists,
  engine,
  sorting_key,
  partition_key,
  ttl,
  columns,
  drift,
}: LiveTable): LiveTable => ({
  table,
  exists,
  engine,
  sorting_key,
  partition_key,
  ttl,
  columns,
  drift,
});

export interface SchemaNode {
  replica: string;
  client: ClickHouseClient;
}

/**
 * The report of the first node that answers, with the differences of all of them; a difference that every node has stands once.
 * @throws the first node's error when no node answers
 */
export async function reportSchemaOfAll(nodes: readonly SchemaNode[], name: string): Promise<SchemaReport> {
  const answers = await Promise.allSettled(nodes.map(({ client }) => reportSchema(client, name)));
  const reports = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  const [first] = reports;
  if (!first) throw (answers[0] as PromiseRejectedResult).reason;
  const common = new Set(first.drift.filter((item) => reports.every(({ drift }) => drift.includes(item))));
  const drift = [...common];
  for (const [i, answer] of answers.entries()) {
    const at = nodes[i]?.replica ?? '';
    if (answer.status === 'rejected') drift.push(`${at}: cannot be asked: ${describeError(answer.reason)}`);
    else drift.push(...answer.value.drift.filter((item) => !common.has(item)).map((item) => `${at}: ${item}`));
  }
  return { ...first, drift };
}
