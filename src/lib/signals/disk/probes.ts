/**
 * What one ClickHouse node says about its disks and what lies on them (spec ta 5.3). Read-only; works on a full disk, where the
 * engine still answers reads. 64-bit numbers come as text and are held as numbers: bytes stay far below 2^53.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { readRecord } from '../schema.ts';

const bytes = z.coerce.number().nonnegative();
const count = z.coerce.number().int().nonnegative();

const schemas = {
  disks: z.object({
    name: z.string(),
    path: z.string(),
    free_bytes: bytes,
    total_bytes: bytes,
    unreserved_bytes: bytes,
  }),
  tables: z.object({
    database: z.string(),
    table: z.string(),
    bytes,
    rows: count,
    parts: count,
    min_partition: z.string(),
    max_partition: z.string(),
  }),
  partitions: z.object({
    database: z.string(),
    table: z.string(),
    partition: z.string(),
    partition_id: z.string(),
    bytes,
    rows: count,
    parts: count,
  }),
  inactive: z.object({ bytes, parts: count }),
  detached: z.object({ database: z.string(), table: z.string(), name: z.string(), reason: z.string(), bytes }),
  merges: z.object({ database: z.string(), table: z.string(), elapsed_seconds: bytes, progress: bytes, bytes }),
  mutations: z.object({ database: z.string(), table: z.string(), mutation_id: z.string(), parts_to_do: count }),
  logTables: z.object({ table: z.string(), bytes, rows: count }),
  growth: z.object({ now_seconds: count, bytes_24h: bytes, history_seconds: count }),
  replicas: z.object({ tables: count }),
  hasTable: z.object({ n: count }),
};

type Rows<K extends keyof typeof schemas> = z.infer<(typeof schemas)[K]>[];

export interface StoreFacts {
  /** Wall seconds by the server. */
  nowSeconds: number;
  disks: Rows<'disks'>;
  tables: Rows<'tables'>;
  partitions: Rows<'partitions'>;
  inactive: { bytes: number; parts: number };
  detached: Rows<'detached'>;
  merges: Rows<'merges'>;
  mutations: Rows<'mutations'>;
  /** Tables of the server's own logs, numbered leftovers of upgrades among them. */
  logTables: Rows<'logTables'>;
  /** Partitions of the signal tables past the recorded TTL; empty without one. */
  expired: Rows<'partitions'>;
  ttlDays: number | null;
  growth: { bytes_24h: number; history_seconds: number };
  replicatedTables: number;
  /** The server keeps a log of its parts. */
  hasPartLog: boolean;
}

const partitionColumns = `database, table, partition, partition_id, sum(bytes_on_disk) AS bytes, sum(rows) AS rows, count() AS parts`;
const queries: Record<keyof typeof schemas, string> = {
  disks:
    'SELECT name, path, free_space AS free_bytes, total_space AS total_bytes, unreserved_space AS unreserved_bytes FROM system.disks ORDER BY name',
  tables: `SELECT database, table, sum(bytes_on_disk) AS bytes, sum(rows) AS rows, count() AS parts,
  min(partition) AS min_partition, max(partition) AS max_partition
FROM system.parts WHERE active GROUP BY database, table ORDER BY bytes DESC, database, table`,
  partitions: `SELECT ${partitionColumns} FROM system.parts WHERE active
GROUP BY database, table, partition, partition_id ORDER BY bytes DESC, database, table, partition`,
  inactive: 'SELECT sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts WHERE NOT active',
  detached: `SELECT database, table, name, ifNull(reason, '') AS reason, bytes_on_disk AS bytes FROM system.detached_parts
ORDER BY database, table, name`,
  merges: `SELECT database, table, elapsed AS elapsed_seconds, progress, total_size_bytes_compressed AS bytes FROM system.merges`,
  mutations: 'SELECT database, table, mutation_id, parts_to_do FROM system.mutations WHERE NOT is_done',
  logTables: `SELECT name AS table, ifNull(total_bytes, 0) AS bytes, ifNull(total_rows, 0) AS rows FROM system.tables
WHERE database = 'system' AND match(name, '_log(_[0-9]+)?$') AND engine LIKE '%MergeTree' ORDER BY name`,
  // What came within a day, and how long there has been anything: a merge writes its parts anew, so this is an upper bound.
  growth: `SELECT toUnixTimestamp(now()) AS now_seconds,
  (SELECT sumIf(bytes_on_disk, modification_time > now() - 86400) FROM system.parts WHERE active) AS bytes_24h,
  greatest(0, dateDiff('second', (SELECT min(metadata_modification_time) FROM system.tables
    WHERE (database, name) IN (SELECT database, table FROM system.parts WHERE active)), now())) AS history_seconds`,
  replicas: 'SELECT count() AS tables FROM system.replicas',
  hasTable: "SELECT count() AS n FROM system.tables WHERE database = 'system' AND name = 'part_log'",
};

/** @throws errors of the client as they are */
export async function probeStore(client: ClickHouseClient, database: string): Promise<StoreFacts> {
  const ask = async <K extends keyof typeof schemas>(name: K): Promise<Rows<K>> => {
    const result = await client.query({ query: queries[name], format: 'JSONEachRow' });
    return z.array(schemas[name]).parse(await result.json()) as Rows<K>;
  };
  const [disks, tables, partitions, detached, merges, mutations, logTables] = await Promise.all([
    ask('disks'),
    ask('tables'),
    ask('partitions'),
    ask('detached'),
    ask('merges'),
    ask('mutations'),
    ask('logTables'),
  ]);
  const [inactive] = await ask('inactive');
  const [growth] = await ask('growth');
  const [replicas] = await ask('replicas');
  const [partLog] = await ask('hasTable');
  const ttlDays = (await readRecord(client, database))?.ttl_days ?? null;
  const nowSeconds = growth?.now_seconds ?? 0;
  const oldest = new Date((nowSeconds - (ttlDays ?? 0) * 86_400) * 1000).toISOString().slice(0, 10);
  const expired = partitions.filter(
    (part) =>
      ttlDays !== null &&
      part.database === database &&
      part.table.startsWith('ta_') &&
      /^\d{4}-\d{2}-\d{2}$/.test(part.partition) &&
      part.partition < oldest,
  );
  return {
    nowSeconds,
    disks,
    tables,
    partitions,
    inactive: { bytes: inactive?.bytes ?? 0, parts: inactive?.parts ?? 0 },
    detached,
    merges,
    mutations,
    logTables,
    expired: expired.sort((a, b) => (a.partition < b.partition ? -1 : 1)),
    ttlDays,
    growth: { bytes_24h: growth?.bytes_24h ?? 0, history_seconds: growth?.history_seconds ?? 0 },
    replicatedTables: replicas?.tables ?? 0,
    hasPartLog: (partLog?.n ?? 0) > 0,
  };
}
