/**
 * A real Postgres for one test file, and a new migrated database for each call of `newLedgerDatabase`.
 */
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { findPostgres } from '../../../src/embedded/parts.ts';
import { preparePostgres } from '../../../src/embedded/postgres/install.ts';
import { type PostgresServer, startPostgres } from '../../../src/embedded/postgres/server.ts';
import { migrate } from '../../../src/lib/ledger/migrator.ts';

export interface TestPostgres {
  server: PostgresServer;
  /** A new database with the current schema. */
  newLedgerDatabase(): Promise<string>;
  /** A new empty database. */
  newDatabase(): Promise<string>;
  close(): Promise<void>;
}

export async function startTestPostgres(): Promise<TestPostgres> {
  const directory = mkdtempSync(join(tmpdir(), 'torghut-pg-'));
  chmodSync(directory, 0o711);
  const server = await startPostgres({
    directory: join(directory, 'postgres'),
    binaries: preparePostgres(findPostgres(), join(directory, 'binaries')),
    password: randomUUID(),
  });
  const newDatabase = async (template?: string) => {
    const name = `t${randomUUID().replaceAll('-', '')}`;
    const client = new pg.Client({ connectionString: server.dsn });
    await client.connect();
    await client.query(`create database ${name}${template === undefined ? '' : ` template ${template}`}`);
    await client.end();
    const url = new URL(server.dsn);
    url.pathname = `/${name}`;
    return url.toString();
  };
  // Migrated once; a copy of it takes a tenth of the time.
  let template: Promise<string> | undefined;
  const makeTemplate = async () => {
    const dsn = await newDatabase();
    await migrate(dsn);
    return new URL(dsn).pathname.slice(1);
  };
  return {
    server,
    newDatabase: () => newDatabase(),
    newLedgerDatabase: async () => {
      template ??= makeTemplate();
      return newDatabase(await template);
    },
    close: async () => {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Runs SQL of the test's own and returns the rows. */
export async function query<T extends pg.QueryResultRow>(
  dsn: string,
  text: string,
  values: unknown[] = [],
): Promise<T[]> {
  const client = new pg.Client({ connectionString: dsn });
  await client.connect();
  try {
    return (await client.query<T>(text, values)).rows;
  } finally {
    await client.end();
  }
}
