/**
 * Whose database it is: run, TTL and layout, recorded in the comment of the table `torghut_run`. Making a table is one atomic
 * step, so of two first writers one wins, and the other sees whose database it is.
 * Refusals (exit 4): `run_mismatch`, `ttl_mismatch`, `layout_mismatch`.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { refusedError } from '../service/errors.ts';
import { engineText, keeperPath, type Layout, layoutOf, onCluster } from './layout.ts';
import { quoteLiteral } from './sql-text.ts';
import type { TtlDays } from './tables.ts';

export interface SchemaTarget {
  database: string;
  runId: string;
  /** Days of TTL; undefined for none (always on a virtual clock: 2013 rows would be deleted at once). */
  ttlDays: TtlDays;
  /** Name of the cluster whose replicas all have the tables; left out: as recorded, and a single node for a new database. */
  cluster?: string | undefined;
}

const recordSchema = z.object({
  run_id: z.string(),
  ttl_days: z.int().positive().nullable(),
  /** Absent on a single node, and in records of versions that knew no other. */
  cluster: z.string().optional(),
});
export type RunRecord = z.infer<typeof recordSchema>;

/** The text of the record; a single node has no `cluster` in it. */
export function recordComment({ runId, ttlDays }: SchemaTarget, { cluster }: Layout): string {
  const record: RunRecord = { run_id: runId, ttl_days: ttlDays ?? null, ...(cluster === undefined ? {} : { cluster }) };
  return JSON.stringify(record);
}

/** The bookkeeping tables: what was applied, and (in the comment, see the header) whose database it is. */
export function recordStatements(target: SchemaTarget, layout: Layout): string[] {
  const { database } = target;
  return [
    migrationsTableStatement(database, layout),
    `CREATE TABLE IF NOT EXISTS ${database}.torghut_run${onCluster(layout)} (run_id String) ENGINE = MergeTree ORDER BY run_id COMMENT ${quoteLiteral(recordComment(target, layout))}`,
  ];
}

export function migrationsTableStatement(database: string, layout: Layout): string {
  const engine = engineText('ReplacingMergeTree', layout, keeperPath(database, 'torghut_migrations'));
  return `CREATE TABLE IF NOT EXISTS ${database}.torghut_migrations${onCluster(layout)} (
  version UInt32, name String, checksum String
) ENGINE = ${engine} ORDER BY version`;
}

/** Writes the record of an existing database anew. */
export function recordChangeStatement(target: SchemaTarget, layout: Layout): string {
  return `ALTER TABLE ${target.database}.torghut_run${onCluster(layout)} MODIFY COMMENT ${quoteLiteral(recordComment(target, layout))}`;
}

/** Run, TTL and cluster recorded in a database; undefined when it has no tables of ours. */
export async function readRecord(client: ClickHouseClient, database: string): Promise<RunRecord | undefined> {
  const result = await client.query({
    query: "SELECT comment FROM system.tables WHERE database = {database:String} AND name = 'torghut_run'",
    query_params: { database },
    format: 'JSONEachRow',
  });
  const [found] = z.array(z.object({ comment: z.string() })).parse(await result.json());
  return found === undefined ? undefined : recordSchema.parse(JSON.parse(found.comment));
}

export function layoutOfRecord(record: RunRecord | undefined): Layout {
  return layoutOf(record?.cluster);
}

/** @throws `run_mismatch` (exit 4) */
export function refuseOtherRun(database: string, record: RunRecord, target: SchemaTarget): void {
  if (record.run_id === target.runId) return;
  throw refusedError({
    code: 'run_mismatch',
    what: `the database ${database} belongs to run ${record.run_id}, this is run ${target.runId}`,
    why: 'one database holds one run',
    next: 'set TORGHUT_RUN_ID to the run of the database, or name another database in TA_CLICKHOUSE_URL',
  });
}

/** @throws `ttl_mismatch` (exit 4) */
export function refuseOtherTtl(database: string, record: RunRecord, target: SchemaTarget): void {
  const wanted = target.ttlDays ?? null;
  if (record.ttl_days === wanted) return;
  const text = (days: number | null) => (days === null ? 'none' : `${days} days`);
  throw refusedError({
    code: 'ttl_mismatch',
    what: `the tables ta_* of the database ${database} have a TTL of ${text(record.ttl_days)}, wanted is ${text(wanted)}`,
    why: 'on a virtual clock rows with old event times would be deleted at once',
    next: `set TA_CLICKHOUSE_TTL_DAYS to ${record.ttl_days ?? 'none'}, or use another database`,
  });
}

/** @throws `layout_mismatch` (exit 4) when a cluster is asked for that the database was not made for */
export function refuseOtherLayout(database: string, record: RunRecord, target: SchemaTarget): void {
  if (target.cluster === undefined || target.cluster === record.cluster) return;
  throw refusedError({
    code: 'layout_mismatch',
    what: `the database ${database} was made for ${record.cluster === undefined ? 'a single node' : `the cluster ${record.cluster}`}, wanted is the cluster ${target.cluster}`,
    next: `look at \`torghut clickhouse migrate --cluster ${target.cluster} --plan\`, which converts the tables`,
  });
}
