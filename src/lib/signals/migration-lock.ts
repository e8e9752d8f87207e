/**
 * One migrator at a time, whatever machine it runs on: a table that only one can make, with its owner in the comment.
 * Guarantees: a second migrator is refused with the owner's name (`migration_running`, exit 4); a lock left by a migrator that
 * died is taken over, at once on the owner's machine, elsewhere after a minute without a sign of life by the server's clock.
 * On a cluster the table is made on all hosts through the cluster's queue, so of two only one succeeds.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { codeOf, refusedError } from '../service/errors.ts';
import { isProcessAlive, processStartTicks } from '../service/home.ts';
import { type Layout, onCluster } from './layout.ts';
import { quoteLiteral } from './sql-text.ts';

const ownerSchema = z.object({
  id: z.string(),
  host: z.string(),
  pid: z.int(),
  ticks: z.string(),
  /** Server seconds of the last sign of life. */
  at: z.int(),
});
type Owner = z.infer<typeof ownerSchema>;

const lockName = 'torghut_migration_lock';

/** Server seconds without a sign of life after which a lock of another machine is nobody's. */
const staleSeconds = 60;
const signMs = 10_000;
/** TABLE_ALREADY_EXISTS, UNKNOWN_TABLE. */
const existsCode = '57';
const unknownCode = '60';

/** Locks that this process holds now: one of ours that is not among them is a leftover. */
const held = new Set<string>();

/** Runs the work under the lock of a database. @throws `migration_running` (exit 4) */
export async function underMigrationLock<T>(
  client: ClickHouseClient,
  database: string,
  layout: Layout,
  work: () => Promise<T>,
): Promise<T> {
  const id = randomUUID();
  const table = `${database}.${lockName}`;
  const on = onCluster(layout);
  held.add(id);
  try {
    await take(client, { id, database, table, on });
  } catch (error) {
    held.delete(id);
    throw error;
  }
  const sign = setInterval(() => {
    void ownerText(client, id)
      .then((comment) => client.command({ query: `ALTER TABLE ${table}${on} MODIFY COMMENT ${quoteLiteral(comment)}` }))
      .catch(() => undefined);
  }, signMs);
  sign.unref();
  try {
    return await work();
  } finally {
    clearInterval(sign);
    held.delete(id);
    // An engine that is gone keeps the lock; the next migrator sees that nobody holds it.
    await client.command({ query: `DROP TABLE IF EXISTS ${table}${on} SYNC` }).catch(() => undefined);
  }
}

interface Wanted {
  id: string;
  database: string;
  table: string;
  on: string;
}

async function take(client: ClickHouseClient, wanted: Wanted): Promise<void> {
  const { id, database, table, on } = wanted;
  const make = async () =>
    client.command({
      query: `CREATE TABLE ${table}${on} (owner String) ENGINE = Memory COMMENT ${quoteLiteral(await ownerText(client, id))}`,
    });
  try {
    await make();
    return;
  } catch (error) {
    if (codeOf(error) !== existsCode) throw error;
  }
  const { owner, now } = await readOwner(client, database, lockName);
  if (owner && !isStale(owner, now)) throw running(database, owner);
  // Renaming is atomic: of two that take a leftover away one meets no table.
  const aside = `${lockName}_${id.replaceAll('-', '')}`;
  try {
    await client.command({ query: `RENAME TABLE ${table} TO ${database}.${aside}${on}` });
    const taken = (await readOwner(client, database, aside)).owner;
    if (taken && taken.id !== owner?.id) {
      // Somebody else was quicker, and this is his.
      await client.command({ query: `RENAME TABLE ${database}.${aside} TO ${table}${on}` });
      throw running(database, taken);
    }
    await client.command({ query: `DROP TABLE IF EXISTS ${database}.${aside}${on} SYNC` });
  } catch (error) {
    if (codeOf(error) !== unknownCode) throw error;
  }
  try {
    await make();
  } catch (error) {
    if (codeOf(error) !== existsCode) throw error;
    throw running(database, (await readOwner(client, database, lockName)).owner);
  }
}

function isStale(owner: Owner, nowSeconds: number): boolean {
  if (owner.host !== hostname()) return nowSeconds - owner.at > staleSeconds;
  if (owner.pid === process.pid) return !held.has(owner.id);
  return !isProcessAlive(owner.pid, owner.ticks);
}

async function serverSeconds(client: ClickHouseClient): Promise<number> {
  const result = await client.query({ query: 'SELECT toUnixTimestamp(now()) AS now', format: 'JSONEachRow' });
  return z.array(z.object({ now: z.coerce.number() })).parse(await result.json())[0]?.now ?? 0;
}

async function ownerText(client: ClickHouseClient, id: string): Promise<string> {
  const owner: Owner = {
    id,
    host: hostname(),
    pid: process.pid,
    ticks: processStartTicks(process.pid) ?? '',
    at: await serverSeconds(client),
  };
  return JSON.stringify(owner);
}

async function readOwner(
  client: ClickHouseClient,
  database: string,
  table: string,
): Promise<{ owner: Owner | undefined; now: number }> {
  const result = await client.query({
    query:
      'SELECT comment, toUnixTimestamp(now()) AS now FROM system.tables WHERE database = {database:String} AND name = {table:String}',
    query_params: { database, table },
    format: 'JSONEachRow',
  });
  const found = z.array(z.object({ comment: z.string(), now: z.coerce.number() })).parse(await result.json())[0];
  if (!found) return { owner: undefined, now: 0 };
  return { owner: ownerSchema.parse(JSON.parse(found.comment)), now: found.now };
}

function running(database: string, owner: Owner | undefined): Error {
  return refusedError({
    code: 'migration_running',
    what: `another migration of the database ${database} is running`,
    ...(owner ? { why: `process ${owner.pid} on ${owner.host} holds its lock` } : {}),
    next: 'let it end, then look at the plan again',
  });
}
