import { describe, expect, test } from 'vitest';
import { runEmbeddedClickHouse } from '../../src/embedded/clickhouse/run.ts';
import { openLedger, openSignalStore } from '../../src/embedded/connect.ts';
import { findClickHouseEngine, findPostgres, type PartResolver } from '../../src/embedded/parts.ts';
import { runEmbeddedPostgres } from '../../src/embedded/postgres/run.ts';
import { parseClickHouseAddress } from '../../src/embedded/variables.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';
import { freshHome } from '../support/torghut.ts';

/** An installation without the optional packages. */
const withoutParts: PartResolver = {
  resolve: (name) => {
    throw Object.assign(new Error(`Cannot find module '${name}'`), { code: 'MODULE_NOT_FOUND' });
  },
};

describe('an installation without the optional packages', () => {
  const home = freshHome();
  const env = { PATH: process.env.PATH };
  test.each([
    ['the engine', () => findClickHouseEngine(withoutParts), 'TA_CLICKHOUSE_URL'],
    ['Postgres', () => findPostgres(withoutParts), 'DB_DSN'],
    ['a command on the signal store', () => openSignalStore({ home, env, parts: withoutParts }), 'TA_CLICKHOUSE_URL'],
    ['a command on the ledger', () => openLedger({ home, env, parts: withoutParts }), 'DB_DSN'],
    [
      'the engine as a process',
      () => runEmbeddedClickHouse({ home, port: 0, parts: withoutParts }),
      'TA_CLICKHOUSE_URL',
    ],
    ['Postgres as a process', () => runEmbeddedPostgres({ home, port: 0, parts: withoutParts }), 'DB_DSN'],
  ])('%s says which command adds them, and which setting does without', async (_name, use, setting) => {
    const attempt = async (): Promise<unknown> => use();
    const error = await attempt().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TorghutError);
    expect(error).toMatchObject({ code: 'embedded_part_missing', exitCode: 3 });
    expect((error as TorghutError).next).toContain('npm ci --include=dev');
    expect((error as TorghutError).next).toContain(setting);
  });

  test('a configured server needs no part', async () => {
    const store = await openSignalStore({
      home,
      env: { ...env, TA_CLICKHOUSE_URL: 'jdbc:clickhouse://ch.example:8123/torghut' },
      parts: withoutParts,
    });
    expect(store).toMatchObject({ url: 'http://ch.example:8123', database: 'torghut', embedded: false });
    await store.close();
    const ledger = await openLedger({
      home,
      env: { ...env, DB_URL: 'postgresql://u:p@db.example/x' },
      parts: withoutParts,
    });
    expect(ledger.dsn).toBe('postgresql://u:p@db.example/x');
  });
});

describe('the ClickHouse address', () => {
  test.each([
    ['jdbc:clickhouse://h:8123/db1', 'http://h:8123', 'db1'],
    ['jdbc:clickhouse:http://h:8123/?database=db2', 'http://h:8123', 'db2'],
    ['https://h:8443?db=db3', 'https://h:8443', 'db3'],
    ['http://h:8123', 'http://h:8123', 'torghut'],
  ])('%s', (text, url, database) => {
    expect(parseClickHouseAddress(text)).toEqual({ url, database });
  });

  test.each(['h:8123', 'http://u:p@h:8123', 'ftp://h', 'http://h/a-b'])('%s is refused', (text) => {
    expect(() => parseClickHouseAddress(text)).toThrow(/must/);
  });
});
