/** A connection that dies while a transaction holds it is an error of that transaction, never the end of the process. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConnection } from '../../src/lib/ledger/connection.ts';
import { sleep } from '../../src/lib/service/machine.ts';
import { query, startTestPostgres, type TestPostgres } from './support/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(() => postgres?.close());

it('a backend that is ended between two statements of a transaction fails the transaction alone', async () => {
  const dsn = await postgres.newDatabase();
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  process.on('uncaughtException', note);
  const { pool, close } = openConnection({ dsn, applicationName: 'doomed' });
  try {
    const client = await pool.connect();
    await client.query('begin');
    await query(dsn, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'doomed'");
    // Nothing is asked of the client while its connection goes.
    await sleep(200);
    await expect(client.query('select 1')).rejects.toThrow();
    client.release(true);
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(uncaught).toEqual([]);
  } finally {
    process.off('uncaughtException', note);
    await close();
  }
});
