/**
 * What a migration of the signal store would do, before it does it (migration-run.ts does it, schema-report.ts tells what is).
 * Guarantees: planning changes nothing; the id of a plan is a hash of the plan and of the facts it rests on; everything that
 * would be refused later is refused already here (newer schema, a column changed by hand, another run, no room, a writer that
 * still runs). A shorter TTL says how many stored rows it would delete, a conversion which tables it replaces.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { planIdOf } from '../runbook/plan.ts';
import { codeOf } from '../service/errors.ts';
import { type Conversion, conversionStatements, findConversions, refuseUnsafeConversions } from './conversion.ts';
import { type Layout, layoutOf, onCluster } from './layout.ts';
import { type Aspect, type InspectedTable, inspectTables, inspectViews } from './live.ts';
import {
  layoutOfRecord,
  migrationsTableStatement,
  type RunRecord,
  readRecord,
  recordChangeStatement,
  recordStatements,
  refuseOtherLayout,
  refuseOtherRun,
} from './run-record.ts';
import {
  appliedMigrations,
  checkedName,
  migrations,
  refuseNewer,
  refuseOtherChecksum,
  refuseTableDrift,
  type SchemaTarget,
  ttlStatements,
} from './schema.ts';
import { type TtlDays, tables } from './tables.ts';
import { derivedStatements, dropDerivedStatements } from './views.ts';

export interface MigrationWish {
  database: string;
  /** The run that a new database will belong to, or that an existing one must belong to; undefined accepts the recorded one. */
  runId: string | undefined;
  /** undefined keeps what is recorded. */
  ttl: { days: TtlDays } | undefined;
  /** The cluster whose replicas shall all have the tables; left out: as recorded, a single node for a new database. */
  cluster?: string | undefined;
  /** For a database that has nothing recorded yet. */
  defaults: { runId: string; ttlDays: TtlDays };
}

export interface MigrationPlan {
  id: string;
  database: string;
  run_id: string;
  ttl_days: number | null;
  cluster: string | null;
  database_exists: boolean;
  applied: { version: number; name: string; checksum: string }[];
  pending: { version: number; name: string }[];
  /** Tables that are replaced; their rows are carried over and verified before the old table goes. */
  conversions: Conversion[];
  /** In the order in which they run; `{day:Date}` stands for each day of a conversion. */
  statements: string[];
  /** Stored rows that the new TTL would delete; 0 when the TTL stays. */
  rows_past_ttl: number;
}

export interface Facts {
  databaseExists: boolean;
  record: RunRecord | undefined;
  applied: Map<number, string>;
  /** As they must be in the wanted layout with the recorded TTL. */
  live: InspectedTable[];
  views: Map<string, string[]>;
}

async function databaseExists(client: ClickHouseClient, database: string): Promise<boolean> {
  try {
    const result = await client.query({
      query: 'SELECT name FROM system.databases WHERE name = {database:String}',
      query_params: { database },
      format: 'JSONEachRow',
    });
    return (await result.json()).length > 0;
  } catch (error) {
    // The client's own default database is the missing one: then the server takes no statement at all.
    if (codeOf(error) === '81') return false;
    throw error;
  }
}

/** @param wanted the layout that the tables are compared with; undefined for the recorded one */
export async function readFacts(
  client: ClickHouseClient,
  database: string,
  wanted?: Layout | undefined,
): Promise<Facts> {
  const none: Facts = { databaseExists: false, record: undefined, applied: new Map(), live: [], views: new Map() };
  if (!(await databaseExists(client, database))) return none;
  const record = await readRecord(client, database);
  const layout = wanted ?? layoutOfRecord(record);
  const live = await inspectTables(client, { database, ttlDays: record?.ttl_days ?? undefined, layout });
  const views = await inspectViews(client, database, layout);
  const applied = record ? await appliedMigrations(client, database) : new Map<number, string>();
  return { databaseExists: true, record, applied, live, views };
}

/** What the plan and its execution work on. */
export interface Prepared {
  plan: MigrationPlan;
  target: SchemaTarget;
  layout: Layout;
  record: RunRecord | undefined;
  changesLayout: boolean;
  changesTtl: boolean;
  remakesViews: boolean;
}

/** @throws TorghutError (exit 4) of schema.ts, run-record.ts and conversion.ts */
export async function planMigration(client: ClickHouseClient, wish: MigrationWish): Promise<MigrationPlan> {
  return (await prepareMigration(client, wish)).plan;
}

export async function prepareMigration(client: ClickHouseClient, wish: MigrationWish): Promise<Prepared> {
  const database = checkedName(wish.database);
  const wanted = wish.cluster === undefined ? undefined : layoutOf(wish.cluster);
  const facts = await readFacts(client, database, wanted);
  const { record } = facts;
  if (facts.databaseExists) await refuseNewer(client, database);
  const layout = wanted ?? layoutOfRecord(record);
  const runId = wish.runId ?? record?.run_id ?? wish.defaults.runId;
  const recorded = record?.ttl_days ?? undefined;
  const ttlDays = wish.ttl ? wish.ttl.days : record ? recorded : wish.defaults.ttlDays;
  const target: SchemaTarget = { database, runId, ttlDays, cluster: layout.cluster };
  if (record) refuseOtherRun(database, record, target);
  if (record?.cluster !== undefined) refuseOtherLayout(database, record, target);
  for (const migration of migrations) {
    const known = facts.applied.get(migration.version);
    if (known !== undefined) refuseOtherChecksum(database, migration, known);
  }
  const changesLayout = record !== undefined && record.cluster !== layout.cluster;
  const pending = migrations.filter(({ version }) => changesLayout || !facts.applied.has(version));
  const changesTtl =
    wish.ttl !== undefined &&
    record !== undefined &&
    (recorded !== ttlDays || facts.live.some(({ exists, differences }) => exists && differences.some(isAboutTtl)));
  const question = { database, ttlDays: changesTtl ? recorded : ttlDays, layout, runId };
  const conversions = facts.databaseExists ? await findConversions(client, question) : [];
  refuseUnmended(database, facts, { hasPending: pending.length > 0, changesTtl, conversions });
  await refuseUnsafeConversions(client, question, conversions);
  // A view reads its table by name and would fill from the wrong one while names are swapped.
  const hasViews = [...facts.views.values()].some(([first]) => first === undefined || !first.endsWith('is missing'));
  const dropsViews = conversions.length > 0 && facts.databaseExists && hasViews;
  const remakesViews =
    dropsViews || (facts.applied.has(2) && [...facts.views.values()].some((drift) => drift.length > 0));
  const statements = [
    ...(facts.databaseExists ? [] : [createDatabaseStatement(database, layout)]),
    ...(record ? [] : recordStatements(target, layout)),
    ...(remakesViews ? dropDerivedStatements(database, layout) : []),
    ...conversions.flatMap((conversion) => conversionStatements(question, conversion)),
    ...(changesLayout ? layoutStatements(target, layout) : []),
    ...pending.flatMap((migration) => migration.statements(database, ttlDays, layout)),
    ...(changesTtl ? ttlStatements(target, facts.live, layout) : []),
    ...(remakesViews && !pending.some(({ version }) => version === 2) ? derivedStatements(database, layout) : []),
  ];
  const content = {
    database,
    run_id: runId,
    ttl_days: ttlDays ?? null,
    cluster: layout.cluster ?? null,
    applied: appliedOf(facts.applied),
    pending: pending.map(({ version, name }) => ({ version, name })),
    conversions,
    rows_past_ttl: changesTtl && ttlDays !== undefined ? await countPastTtl(client, database, ttlDays, facts.live) : 0,
  };
  // Making an empty database changes nothing that the plan rests on.
  const basis = JSON.stringify([
    content,
    statements.filter((statement) => !statement.startsWith('CREATE DATABASE')),
    facts.live.filter(({ exists }) => exists),
    facts.databaseExists && remakesViews ? [...facts.views] : [],
  ]);
  const plan = { id: planIdOf(basis), ...content, database_exists: facts.databaseExists, statements };
  return { plan, target, layout, record, changesLayout, changesTtl, remakesViews };
}

const createDatabaseStatement = (database: string, layout: Layout) =>
  `CREATE DATABASE IF NOT EXISTS ${database}${onCluster(layout)}`;

/** The bookkeeping of a single node becomes the cluster's; what was applied is recorded anew by the migrations behind. */
export function layoutStatements(target: SchemaTarget, layout: Layout): string[] {
  const { database } = target;
  return [
    `DROP TABLE IF EXISTS ${database}.torghut_migrations${onCluster(layout)} SYNC`,
    migrationsTableStatement(database, layout),
    ...recordStatements(target, layout).slice(1),
    recordChangeStatement(target, layout),
  ];
}

/** Refuses every difference that no part of the plan mends. @throws `schema_drift` */
function refuseUnmended(
  database: string,
  facts: Facts,
  plan: { hasPending: boolean; changesTtl: boolean; conversions: readonly Conversion[] },
): void {
  for (const { table, exists, differences } of facts.live) {
    // A table of a migration that was cut off is not there yet; a converted one is made anew.
    if ((!exists && plan.hasPending) || plan.conversions.some((each) => each.table === table)) continue;
    const mended = new Set<Aspect>([
      // A wanted TTL also finishes a change that was cut off; without the wish another TTL than the recorded one is drift.
      ...(plan.changesTtl ? (['ttl'] as const) : []),
      ...(facts.applied.has(2) ? [] : (['setting'] as const)),
    ]);
    refuseTableDrift(
      database,
      table,
      differences.filter(({ aspect }) => !mended.has(aspect)).map(({ text }) => text),
    );
  }
}

const isAboutTtl = ({ aspect }: { aspect: Aspect }): boolean => aspect === 'ttl';

export function appliedOf(applied: Map<number, string>): MigrationPlan['applied'] {
  const nameOf = (version: number) => migrations.find((migration) => migration.version === version)?.name ?? 'unknown';
  return [...applied].map(([version, checksum]) => ({ version, name: nameOf(version), checksum }));
}

async function countPastTtl(
  client: ClickHouseClient,
  database: string,
  ttlDays: number,
  live: readonly InspectedTable[],
): Promise<number> {
  const there = tables.filter(({ name }) => live.some(({ table, exists }) => exists && table === name));
  if (there.length === 0) return 0;
  // The server's own now on purpose: it is what the TTL compares with, whatever the market time of the run.
  const parts = there.map(
    ({ name }) => `SELECT count() AS n FROM ${database}.${name} WHERE event_ts < now() - toIntervalDay({days:UInt32})`,
  );
  const result = await client.query({
    query: `SELECT toUInt32(sum(n)) AS n FROM (${parts.join(' UNION ALL ')})`,
    query_params: { days: ttlDays },
    format: 'JSONEachRow',
  });
  const [found] = z.array(z.object({ n: z.coerce.number() })).parse(await result.json());
  return found?.n ?? 0;
}
