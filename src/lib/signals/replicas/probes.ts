/**
 * What every server of the signal store says about its replicated tables and its session with the keeper. Read-only.
 * Facts (measured on engine 26.7 against ZooKeeper 3.9): while the keeper is away `is_session_expired` becomes 1 and
 * `total_replicas` 0, and `zookeeper_exception` is set only while a connection is being lost; a wiped path gives
 * "No node" in `zookeeper_exception` while the table may still call itself writable. A server has `system.zookeeper`, which
 * answers directly whether a path is there; the embedded engine has not, so there the exception tells.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { codeOf, describeError } from '../../service/errors.ts';
import { quoteLiteral, quoteQualified } from '../sql-text.ts';

export interface ReplicaNode {
  replica: string;
  client: ClickHouseClient;
}

/** Is what the keeper must hold about a table there? `replica_missing`: the table is, this replica is not. */
export type Metadata = 'present' | 'table_missing' | 'replica_missing' | 'unknown';

const replicaSchema = z.object({
  database: z.string(),
  table: z.string(),
  is_readonly: z.coerce.number().transform((value) => value === 1),
  is_session_expired: z.coerce.number().transform((value) => value === 1),
  zookeeper_path: z.string(),
  replica_name: z.string(),
  queue_size: z.coerce.number(),
  inserts_in_queue: z.coerce.number(),
  absolute_delay: z.coerce.number(),
  lost_part_count: z.coerce.number(),
  total_replicas: z.coerce.number(),
  active_replicas: z.coerce.number(),
  zookeeper_exception: z.string(),
  last_queue_update_exception: z.string(),
  replica_is_active: z.record(z.string(), z.coerce.number()),
});

export type ReplicaTable = Omit<z.infer<typeof replicaSchema>, 'replica_is_active'> & {
  metadata: Metadata;
  /** Last error of the queue's entries, and the longest running merge, machine s. */
  queue_error: string;
};

export interface NodeState {
  replica: string;
  /** Why the server could not be asked; null when it answered. */
  error: string | null;
  /** Has the server a session with the keeper now? null when it does not say. */
  has_session: boolean | null;
  /** Addresses of the keeper that the server talks to, host:port. */
  keepers: string[];
  /** Longest running merge of the server, machine s. */
  longest_merge_seconds: number;
  tables: ReplicaTable[];
}

async function ask<T>(client: ClickHouseClient, schema: z.ZodType<T>, query: string): Promise<T[]> {
  const result = await client.query({ query, format: 'JSONEachRow' });
  return z.array(schema).parse(await result.json());
}

/** The servers side by side; one that does not answer is in the list with its error. */
export async function probeReplicas(nodes: readonly ReplicaNode[]): Promise<NodeState[]> {
  return Promise.all(
    nodes.map(async ({ replica, client }) => {
      try {
        return { replica, error: null, ...(await probeNode(client)) };
      } catch (error) {
        const none = { has_session: null, keepers: [], longest_merge_seconds: 0, tables: [] };
        return { replica, error: describeError(error).split('\n')[0]?.slice(0, 300) ?? '', ...none };
      }
    }),
  );
}

async function probeNode(client: ClickHouseClient): Promise<Omit<NodeState, 'replica' | 'error'>> {
  const found = await ask(
    client,
    replicaSchema,
    `SELECT database, table, is_readonly, is_session_expired, zookeeper_path, replica_name, queue_size, inserts_in_queue,
  absolute_delay, lost_part_count, total_replicas, active_replicas, zookeeper_exception, last_queue_update_exception,
  replica_is_active FROM system.replicas ORDER BY database, table`,
  );
  const systemTables = await ask(
    client,
    z.object({ name: z.string() }),
    "SELECT name FROM system.tables WHERE database = 'system' AND name IN ('zookeeper', 'zookeeper_connection')",
  );
  const has = (name: string) => systemTables.some((table) => table.name === name);
  const errors = await ask(
    client,
    z.object({ database: z.string(), table: z.string(), error: z.string() }),
    "SELECT database, table, any(last_exception) AS error FROM system.replication_queue WHERE last_exception != '' GROUP BY database, table",
  );
  const tables: ReplicaTable[] = [];
  for (const { replica_is_active, ...row } of found) {
    const inferred = inferMetadata(row, replica_is_active);
    const metadata = has('zookeeper') && !row.is_session_expired ? await askKeeper(client, row, inferred) : inferred;
    const failed = errors.find(({ database, table }) => database === row.database && table === row.table);
    tables.push({ ...row, metadata, queue_error: failed?.error.split('\n')[0]?.slice(0, 200) ?? '' });
  }
  const metrics = await ask(
    client,
    z.object({ metric: z.string(), value: z.coerce.number() }),
    "SELECT metric, value FROM system.metrics WHERE metric = 'ZooKeeperSession'",
  );
  const [merge] = await ask(
    client,
    z.object({ seconds: z.coerce.number() }),
    'SELECT max(elapsed) AS seconds FROM system.merges',
  );
  const keepers = has('zookeeper_connection')
    ? await ask(
        client,
        z.object({ at: z.string() }),
        "SELECT concat(host, ':', toString(port)) AS at FROM system.zookeeper_connection",
      )
    : [];
  return {
    has_session: metrics[0] === undefined ? null : metrics[0].value > 0,
    keepers: keepers.map(({ at }) => at),
    longest_merge_seconds: Math.round(merge?.seconds ?? 0),
    tables,
  };
}

type Row = Omit<z.infer<typeof replicaSchema>, 'replica_is_active'>;

function inferMetadata(row: Row, active: Record<string, number>): Metadata {
  if (row.is_session_expired) return 'unknown';
  const exception = `${row.zookeeper_exception} ${row.last_queue_update_exception}`;
  if (row.total_replicas > 0) return active[row.replica_name] === undefined ? 'replica_missing' : 'present';
  return /No node|node doesn't exist/i.test(exception) ? 'table_missing' : 'unknown';
}

async function askKeeper(client: ClickHouseClient, row: Row, inferred: Metadata): Promise<Metadata> {
  try {
    const replicas = await ask(
      client,
      z.object({ name: z.string() }),
      `SELECT name FROM system.zookeeper WHERE path = ${quoteLiteral(`${row.zookeeper_path}/replicas`)}`,
    );
    return replicas.some(({ name }) => name === row.replica_name) ? 'present' : 'replica_missing';
  } catch (error) {
    if (/No node|doesn't exist/i.test(describeError(error))) return 'table_missing';
    // The keeper does not answer this question; what the table says stands.
    if (codeOf(error) === '999' || codeOf(error) === '225') return inferred;
    throw error;
  }
}

/** Keys of a table by partition, as one server holds them: merges change neither. */
export interface PartitionDigest {
  partition: string;
  keys: number;
  digest: string;
}

/** Reads every key of the table `database.table`: for before and after a restore. */
export async function digestOf(client: ClickHouseClient, name: string): Promise<PartitionDigest[]> {
  const at = name.indexOf('.');
  const [definition] = await ask(
    client,
    z.object({ sorting_key: z.string() }),
    `SELECT sorting_key FROM system.tables WHERE database = ${quoteLiteral(name.slice(0, at))} AND name = ${quoteLiteral(name.slice(at + 1))}`,
  );
  const key = definition?.sorting_key || '0';
  return ask(
    client,
    z.object({ partition: z.string(), keys: z.coerce.number(), digest: z.string() }),
    `SELECT partition, count() AS keys, toString(sum(mark)) AS digest FROM (SELECT DISTINCT _partition_id AS partition, cityHash64(${key}) AS mark FROM ${quoteQualified(name)}) GROUP BY partition ORDER BY partition`,
  );
}
