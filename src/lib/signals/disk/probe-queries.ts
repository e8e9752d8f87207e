/**
 * The questions of spec ta 5.3 and the shapes of their answers. 64-bit numbers come as text and are held as numbers: bytes stay
 * far below 2^53. A table that a server may not have (part_log, replicas' keeper) is asked for only when it is there.
 */
import { z } from 'zod';

const bytes = z.coerce.number().nonnegative();
const count = z.coerce.number().int().nonnegative();
const seconds = z.coerce.number();

export const shapes = {
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
    /** With inactive parts: what DROP TABLE frees. */
    all_bytes: bytes,
    /** Wall seconds since something was written or merged. */
    quiet_seconds: seconds,
  }),
  partitions: z.object({
    database: z.string(),
    table: z.string(),
    partition: z.string(),
    partition_id: z.string(),
    bytes,
    rows: count,
    parts: count,
    /** With inactive parts: what DROP PARTITION frees. */
    all_bytes: bytes,
    /** Days since the partition's day; null when it is no day. */
    age_days: z.coerce.number().nullable(),
  }),
  engines: z.object({ database: z.string(), table: z.string(), engine: z.string() }),
  record: z.object({ comment: z.string() }),
  migrating: z.object({ database: z.string() }),
  databases: z.object({ database: z.string(), run_comment: z.string() }),
  busy: z.object({ query: z.string() }),
  inactive: z.object({ bytes, parts: count }),
  detached: z.object({ database: z.string(), table: z.string(), name: z.string(), reason: z.string(), bytes }),
  merges: z.object({ database: z.string(), table: z.string(), elapsed_seconds: bytes, progress: bytes, bytes }),
  mutations: z.object({ database: z.string(), table: z.string(), mutation_id: z.string(), parts_to_do: count }),
  logTables: z.object({ table: z.string(), bytes, rows: count }),
  growth: z.object({ now_seconds: count, bytes_24h: bytes, history_seconds: count }),
  errors: z.object({ code: z.coerce.string(), name: z.string(), seconds_ago: seconds }),
  replicas: z.object({
    database: z.string(),
    table: z.string(),
    is_readonly: z.coerce.boolean(),
    is_session_expired: z.coerce.boolean(),
    queue_size: count,
    inserts_in_queue: count,
    absolute_delay: count,
    lost_part_count: count,
    active_replicas: count,
    total_replicas: count,
    exception: z.string(),
  }),
  systemTables: z.object({ name: z.string() }),
  partLog: z.object({ new_parts_1h: count, median_rows: bytes }),
};

export type Rows<K extends keyof typeof shapes> = z.infer<(typeof shapes)[K]>[];

export const questions = {
  disks:
    'SELECT name, path, free_space AS free_bytes, total_space AS total_bytes, unreserved_space AS unreserved_bytes FROM system.disks ORDER BY name',
  tables: `SELECT database, table, sumIf(bytes_on_disk, active) AS bytes, sumIf(rows, active) AS rows, countIf(active) AS parts,
  minIf(partition, active) AS min_partition, maxIf(partition, active) AS max_partition, sum(bytes_on_disk) AS all_bytes,
  dateDiff('second', max(modification_time), now()) AS quiet_seconds
FROM system.parts GROUP BY database, table ORDER BY bytes DESC, database, table`,
  partitions: `SELECT database, table, partition, partition_id, sumIf(bytes_on_disk, active) AS bytes, sumIf(p.rows, active) AS rows,
  countIf(active) AS parts, sum(bytes_on_disk) AS all_bytes,
  dateDiff('day', toDateOrNull(partition), today()) AS age_days
FROM system.parts AS p GROUP BY database, table, partition, partition_id HAVING parts > 0 ORDER BY bytes DESC, database, table, partition`,
  engines: `SELECT database, name AS table, engine FROM system.tables WHERE engine LIKE '%MergeTree'`,
  record: "SELECT comment FROM system.tables WHERE database = {database:String} AND name = 'torghut_run'",
  // The lock of a migrator (migration-lock.ts): it runs, or died and will be resumed.
  migrating: "SELECT database FROM system.tables WHERE name = 'torghut_migration_lock'",
  // Databases whose names say that they are leftovers, with our record of a run (schema.ts).
  databases: `SELECT name AS database, (SELECT any(comment) FROM system.tables t WHERE t.database = d.name AND t.name = 'torghut_run') AS run_comment
FROM system.databases d WHERE match(name, '^torghut_(sim|replay)_') ORDER BY name`,
  busy: `SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'`,
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
  (SELECT if(count() = 0, 0, greatest(0, dateDiff('second', min(metadata_modification_time), now()))) FROM system.tables
    WHERE (database, name) IN (SELECT database, table FROM system.parts WHERE active)) AS history_seconds`,
  // 243 and 75: no space; 252: too many parts; 242: read only.
  errors: `SELECT toString(code) AS code, name, dateDiff('second', last_error_time, now()) AS seconds_ago FROM system.errors
WHERE code IN (75, 242, 243, 252) AND last_error_time > now() - 600 ORDER BY code`,
  systemTables: `SELECT name FROM system.tables WHERE database = 'system' AND name IN ('part_log', 'zookeeper')`,
  replicas: `SELECT database, table, is_readonly, is_session_expired, queue_size, inserts_in_queue, absolute_delay, lost_part_count,
  active_replicas, total_replicas, zookeeper_exception AS exception FROM system.replicas ORDER BY database, table`,
  partLog: `SELECT count() AS new_parts_1h, ifNotFinite(quantileExact(0.5)(rows), 0) AS median_rows FROM system.part_log
WHERE event_type = 'NewPart' AND event_time > now() - 3600`,
} as const;
