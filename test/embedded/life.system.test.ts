/** How the embedded stores live and die: kills, restarts, parents that vanish, two at once. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { findService, homePaths, processStartTicks, type ServiceEndpoint } from '../../src/lib/service/home.ts';
import { cliEntry, freshHome, testEnvironment, torghutRows } from '../support/torghut.ts';
import { clientOf, goneWithin, rowsOf, type StoreProcess, startStore, until } from './rig.ts';

const started: StoreProcess[] = [];
async function start(...args: Parameters<typeof startStore>): Promise<StoreProcess> {
  const store = await startStore(...args);
  started.push(store);
  return store;
}
afterAll(() => {
  for (const { child } of started) child.kill('SIGKILL');
});

const ticksOf = (pid: number) => processStartTicks(pid) ?? '';
const postmasterOf = (endpoint: ServiceEndpoint) => Number(endpoint.extra?.postmaster_pid);

async function ledger<T>(endpoint: ServiceEndpoint, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: endpoint.extra?.dsn });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

describe('the ClickHouse engine', () => {
  test('kill -9 during inserts loses no acknowledged row, and the next start needs nothing', async () => {
    const home = freshHome();
    const acknowledged = new Set<number>();
    let next = 0;
    const rounds = process.env.TORGHUT_TEST_FULL ? 12 : 4;
    let port: string | undefined;
    for (let round = 0; round < rounds; round++) {
      const store = await start('clickhouse', home);
      port ??= new URL(store.endpoint.url).port;
      expect(new URL(store.endpoint.url).port, 'a restart keeps the port').toBe(port);
      const client = clientOf(store.endpoint);
      await client.command({ query: 'CREATE TABLE IF NOT EXISTS k (a Int64) ENGINE = MergeTree ORDER BY a' });
      const kill = setTimeout(() => store.child.kill('SIGKILL'), 150 + 137 * round);
      let isAlive = true;
      while (isAlive) {
        const values = Array.from({ length: 50 }, () => ({ a: next++ }));
        try {
          await client.insert({ table: 'k', values, format: 'JSONEachRow' });
          for (const { a } of values) acknowledged.add(a);
        } catch {
          isAlive = false;
        }
      }
      clearTimeout(kill);
      await store.kill();
      await client.close();
    }
    const store = await start('clickhouse', home);
    const client = clientOf(store.endpoint);
    const stored = await rowsOf<{ a: number }>(client, 'SELECT a FROM k');
    const found = new Set(stored.map(({ a }) => Number(a)));
    expect(found.size, 'nothing twice').toBe(stored.length);
    expect([...acknowledged].filter((a) => !found.has(a))).toEqual([]);
    expect(acknowledged.size).toBeGreaterThan(rounds * 50);
    await client.close();
    expect(await store.stop()).toBe(0);
  });

  test('a second one on the same home is refused by name, and the first one goes on', async () => {
    const home = freshHome();
    const first = await start('clickhouse', home);
    await expect(startStore('clickhouse', home)).rejects.toThrow(/store_in_use/);
    const client = clientOf(first.endpoint);
    expect((await client.ping()).success).toBe(true);
    await client.close();
    await first.stop();
  });

  test('the password file is for its owner alone and outlives the process', async () => {
    const home = freshHome();
    const first = await start('clickhouse', home);
    const path = join(homePaths.clickhouse(home), 'password');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8').trim()).toBe(first.endpoint.password);
    expect(first.stderr()).not.toContain(first.endpoint.password);
    await first.kill();
    const second = await start('clickhouse', home);
    expect(second.endpoint.password).toBe(first.endpoint.password);
    await second.stop();
  });
});

describe('Postgres', () => {
  test('what was committed survives kill -9 of the wrapper, of the postmaster and of a backend', async () => {
    const home = freshHome();
    let committed = 0;
    for (const victim of ['wrapper', 'postmaster', 'backend', 'both'] as const) {
      const store = await start('postgres', home);
      const { pid } = store.endpoint;
      const postmaster = postmasterOf(store.endpoint);
      await ledger(store.endpoint, async (client) => {
        await client.query('create table if not exists k (a int primary key)');
        expect((await client.query('select count(*)::int as n from k')).rows).toEqual([{ n: committed }]);
        const backend = (await client.query('select pg_backend_pid() as pid')).rows[0].pid as number;
        await client.query('insert into k select generate_series($1::int, $1::int + 9)', [committed]);
        committed += 10;
        await client.query('begin');
        await client.query('insert into k values (-1)');
        if (victim === 'wrapper' || victim === 'both') process.kill(pid, 'SIGKILL');
        if (victim === 'postmaster' || victim === 'both') process.kill(postmaster, 'SIGKILL');
        if (victim === 'backend') process.kill(backend, 'SIGKILL');
      });
      if (victim === 'backend') {
        // The postmaster restarts by itself and the wrapper stays.
        await until('it answers again', () => ledger(store.endpoint, async () => true).catch(() => undefined));
        await store.stop();
      } else {
        await goneWithin(pid, ticksOf(pid), 3_000);
      }
    }
    const store = await start('postgres', home);
    await ledger(store.endpoint, async (client) => {
      expect((await client.query('select count(*)::int as n, min(a) as low from k')).rows).toEqual([
        { n: committed, low: 0 },
      ]);
    });
    expect(await store.stop()).toBe(0);
  });

  test('a start ends a postmaster that was left behind with its clients', async () => {
    const home = freshHome();
    const first = await start('postgres', home);
    const postmaster = postmasterOf(first.endpoint);
    const ticks = ticksOf(postmaster);
    // Stopped, it cannot follow the death of its parent: the worst leftover there is.
    process.kill(postmaster, 'SIGSTOP');
    await first.kill();
    const second = await start('postgres', home);
    expect(processStartTicks(postmaster) === ticks).toBe(false);
    await ledger(second.endpoint, async (client) => {
      expect((await client.query('show fsync')).rows).toEqual([{ fsync: 'on' }]);
    });
    await second.stop();
  });
});

describe('a parent that is killed with -9', () => {
  test.each(['clickhouse', 'postgres'] as const)('takes %s with it within 3 s, busy or not', async (name) => {
    const home = freshHome();
    const script = `
      const { spawn } = require('node:child_process');
      spawn(process.execPath, [${JSON.stringify(cliEntry)}, 'embedded', '${name}', '--home', ${JSON.stringify(home)}],
        { stdio: ['pipe', 'ignore', 'ignore'] });
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['-e', script], {
      stdio: 'ignore',
      env: testEnvironment({ TORGHUT_PARENT: 'stdin' }),
    });
    const endpoint = await until('it is announced', () => findService(home, name));
    const pids = [endpoint.pid, ...(name === 'postgres' ? [postmasterOf(endpoint)] : [])].map(
      (pid) => [pid, ticksOf(pid)] as const,
    );
    if (name === 'clickhouse') {
      const client = clientOf(endpoint);
      void rowsOf(client, 'SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) % 3 = 1').catch(
        () => undefined,
      );
    } else {
      void ledger(endpoint, (client) => client.query('select pg_sleep(60)')).catch(() => undefined);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    parent.kill('SIGKILL');
    for (const [pid, ticks] of pids) await goneWithin(pid, ticks, 3_000);
  });

  test('Postgres ends also when its wrapper dies together with the parent', async () => {
    const store = await start('postgres', freshHome());
    const postmaster = postmasterOf(store.endpoint);
    const ticks = ticksOf(postmaster);
    await store.kill();
    expect(await goneWithin(postmaster, ticks, 3_000)).toBeLessThan(3_000);
  });
});

describe('a stop that comes during the start', () => {
  test.each(['clickhouse', 'postgres'] as const)('ends %s all the same, and leaves nothing running', async (name) => {
    const home = freshHome();
    await (await start(name, home)).stop();
    for (const waitMs of [300, 700, 1_000, 1_500]) {
      const child = spawn(process.execPath, [cliEntry, 'embedded', name, '--home', home], {
        stdio: ['pipe', 'ignore', 'ignore'],
        env: testEnvironment({ TORGHUT_PARENT: 'stdin' }),
      });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(timer);
      expect(child.signalCode === 'SIGKILL' && name === 'postgres', `after ${waitMs} ms`).toBe(false);
      expect(processesIn(join(home, name, 'data')), `after ${waitMs} ms`).toEqual([]);
    }
    await (await start(name, home)).stop();
  });
});

/** Processes that work in a folder, as the backends of Postgres do in their data directory. */
function processesIn(directory: string): string[] {
  return readdirSync('/proc').filter((entry) => {
    try {
      return /^\d+$/.test(entry) && readlinkSync(`/proc/${entry}/cwd`) === directory;
    } catch {
      return false;
    }
  });
}

describe('commands without `up`', () => {
  test('two at once share one store that ends with them', async () => {
    const home = freshHome();
    const ask = (n: number) => torghutRows<{ n: number }>(['clickhouse', 'query', `SELECT ${n} AS n`, '--home', home]);
    expect(await Promise.all([ask(1), ask(2)])).toEqual([[{ n: 1 }], [{ n: 2 }]]);
    expect(findService(home, 'clickhouse')).toBeUndefined();
    const rows = await torghutRows(['db', 'query', 'SELECT 1 AS n', '--home', home]);
    expect(rows).toEqual([{ n: 1 }]);
    expect(findService(home, 'postgres')).toBeUndefined();
  });
});
