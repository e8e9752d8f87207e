/**
 * What one ClickHouse node says about its disks and what lies on them (spec ta 5.3). Read-only; works on a full disk, where the
 * engine still answers reads.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { describeError } from '../../service/errors.ts';
import { questions, type Rows, shapes } from './probe-queries.ts';

export interface StoreFacts {
  /** Wall seconds by the server. */
  nowSeconds: number;
  disks: Rows<'disks'>;
  tables: Rows<'tables'>;
  partitions: Rows<'partitions'>;
  /** Names of replicated tables, `database.table`: dropping their partition frees space on every replica. */
  replicated: string[];
  /** Databases of simulations and replays with the run that is recorded in them. */
  runDatabases: { database: string; runId: string | null }[];
  /** Databases that a migrator holds, or held when it died. */
  migrating: string[];
  /** Statements that run now, for what is in use. */
  busy: string[];
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
  /** Refused writes of the last ten minutes: no space (75, 243), read only (242), too many parts (252). */
  errors: Rows<'errors'>;
  replicas: Rows<'replicas'>;
  /** Why the keeper did not answer; null when it did, undefined where there is none. */
  keeperError: string | null | undefined;
  /** Null where the server keeps no log of its parts. */
  partLog: { new_parts_1h: number; median_rows: number } | null;
  freshness: Freshness[];
}

export interface Freshness {
  table: 'ta_signals' | 'ta_microbars';
  /** Market seconds of the newest row; null while the table is empty or missing. */
  newestSeconds: number | null;
  /** `low_memory`: from the parts' metadata, because the rows could not be asked. */
  mode: 'precise' | 'low_memory';
}

export type FreshnessMode = 'auto' | 'precise' | 'low_memory';

const recordSchema = z.object({ run_id: z.string(), ttl_days: z.number().nullable().catch(null) });

/** @throws errors of the client as they are */
export async function probeStore(
  client: ClickHouseClient,
  database: string,
  freshnessMode: FreshnessMode = 'auto',
): Promise<StoreFacts> {
  const ask = async <K extends keyof typeof questions>(name: K): Promise<Rows<K>> => {
    const result = await client.query({ query: questions[name], query_params: { database }, format: 'JSONEachRow' });
    return z.array(shapes[name]).parse(await result.json()) as Rows<K>;
  };
  const [disks, tables, partitions, engines, detached, merges, mutations, logTables] = await Promise.all([
    ask('disks'),
    ask('tables'),
    ask('partitions'),
    ask('engines'),
    ask('detached'),
    ask('merges'),
    ask('mutations'),
    ask('logTables'),
  ]);
  const [inactive] = await ask('inactive');
  const [growth] = await ask('growth');
  const replicas = await ask('replicas');
  const optional = (await ask('systemTables')).map(({ name }) => name);
  const [partLog] = optional.includes('part_log') ? await ask('partLog') : [];
  const [record] = await ask('record');
  const ttlDays = recordOf(record?.comment ?? '')?.ttl_days ?? null;
  const isSignalPartition = (part: Rows<'partitions'>[number]) =>
    part.database === database && part.table.startsWith('ta_');
  return {
    nowSeconds: growth?.now_seconds ?? 0,
    disks,
    tables,
    partitions,
    replicated: engines
      .filter(({ engine }) => engine.startsWith('Replicated'))
      .map(({ database: of, table }) => `${of}.${table}`),
    runDatabases: (await ask('databases')).map(({ database: name, run_comment: comment }) => ({
      database: name,
      runId: recordOf(comment)?.run_id ?? null,
    })),
    migrating: (await ask('migrating')).map(({ database: name }) => name),
    busy: (await ask('busy')).map(({ query }) => query),
    inactive: { bytes: inactive?.bytes ?? 0, parts: inactive?.parts ?? 0 },
    detached,
    merges,
    mutations,
    logTables,
    expired: partitions
      .filter((part) => ttlDays !== null && isSignalPartition(part) && (part.age_days ?? 0) > ttlDays)
      .sort((a, b) => (a.partition < b.partition ? -1 : 1)),
    ttlDays,
    growth: { bytes_24h: growth?.bytes_24h ?? 0, history_seconds: growth?.history_seconds ?? 0 },
    errors: await ask('errors'),
    replicas,
    keeperError:
      replicas.length > 0 || optional.includes('zookeeper')
        ? await keeperError(client, replicas.length > 0)
        : undefined,
    partLog: partLog ?? null,
    freshness: await Promise.all(
      (['ta_signals', 'ta_microbars'] as const).map((table) => freshnessOf(client, database, table, freshnessMode)),
    ),
  };
}

/** The record of run and TTL in the comment of torghut_run (schema.ts); undefined where there is none of ours. */
function recordOf(comment: string): z.infer<typeof recordSchema> | undefined {
  try {
    return recordSchema.parse(JSON.parse(comment));
  } catch {
    return undefined;
  }
}

/** Null when the keeper answers. A configured keeper that no table uses is of no interest. */
async function keeperError(client: ClickHouseClient, isUsed: boolean): Promise<string | null | undefined> {
  if (!isUsed) return undefined;
  try {
    const result = await client.query({
      query: "SELECT count() FROM system.zookeeper WHERE path = '/'",
      format: 'JSONEachRow',
    });
    await result.json();
    return null;
  } catch (error) {
    return describeError(error).slice(0, 200);
  }
}

/** Newest row; from the parts' metadata when the rows cannot be read (out of memory, too slow). */
export async function freshnessOf(
  client: ClickHouseClient,
  database: string,
  table: Freshness['table'],
  mode: FreshnessMode,
): Promise<Freshness> {
  const name = table === 'ta_microbars' ? 'window_end' : 'event_ts';
  const ask = async (query: string): Promise<number | null> => {
    const result = await client.query({ query, query_params: { database, table }, format: 'JSONEachRow' });
    const [row] = z.array(z.object({ newest: z.coerce.number() })).parse(await result.json());
    return row && row.newest > 0 ? row.newest : null;
  };
  if (mode !== 'low_memory') {
    try {
      // No such table is no reason to look elsewhere: there are no parts either, and the answer is null below.
      const newest = await ask(`SELECT toUnixTimestamp(max(${name})) AS newest FROM ${database}.${table}`);
      return { table, newestSeconds: newest, mode: 'precise' };
    } catch (error) {
      if (mode === 'precise') throw error;
    }
  }
  const newest = await ask(
    'SELECT toUnixTimestamp(max(max_time)) AS newest FROM system.parts WHERE active AND database = {database:String} AND table = {table:String}',
  );
  return { table, newestSeconds: newest, mode: 'low_memory' };
}
