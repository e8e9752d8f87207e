/** Addresses of the two stores (spec ta 3, trading 4): unset means the embedded part of the home. */
import { kind, optional, type Variable } from '../lib/service/config.ts';

/** Database of the embedded engine; also where a configured address names none. */
export const embeddedDatabase = 'torghut';

export const storeVariables = {
  TA_CLICKHOUSE_URL: {
    parse: optional(parseClickHouseAddress),
    default: undefined,
    describe:
      'ClickHouse HTTP address, with the database as path; jdbc:clickhouse: in front is dropped. Unset: embedded',
  } satisfies Variable<ClickHouseAddress | undefined>,
  TA_CLICKHOUSE_USERNAME: {
    parse: kind.text,
    default: 'torghut',
    describe: 'ClickHouse user',
  } satisfies Variable<string>,
  TA_CLICKHOUSE_PASSWORD: {
    parse: (text: string) => text,
    default: '',
    secret: true,
    describe: 'ClickHouse password',
  } satisfies Variable<string>,
  TA_CLICKHOUSE_CONN_TIMEOUT_SECONDS: {
    parse: kind.integer(1, 600),
    default: 30,
    time: 'machine',
    describe: 'How long one ClickHouse request may take, and how long a daemon waits for the embedded engine',
  } satisfies Variable<number>,
  TA_CLICKHOUSE_CLUSTER: {
    parse: kind.text,
    default: 'default',
    describe: 'Name of the cluster in system.clusters; its hosts are the replicas',
  } satisfies Variable<string>,
  TA_CLICKHOUSE_REPLICA_URLS: {
    parse: parseReplicaUrls,
    default: [],
    describe:
      'Addresses of every replica, comma separated, where the names in system.clusters cannot be reached from here',
  } satisfies Variable<readonly string[]>,
  DB_DSN: {
    parse: optional(parsePostgresDsn),
    default: undefined,
    aliases: ['DB_URL', 'DATABASE_URL'],
    secret: true,
    describe: 'Postgres connection string of the ledger. Unset: embedded',
  } satisfies Variable<string | undefined>,
};

export interface ClickHouseAddress {
  url: string;
  database: string;
}

/** `[jdbc:clickhouse:][http:]//host:port[/database][?database=…]`; the database is `torghut` when none is named. */
export function parseClickHouseAddress(text: string): ClickHouseAddress {
  let address = text.trim().replace(/^jdbc:(clickhouse|ch):/i, '');
  if (address.startsWith('//')) address = `http:${address}`;
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw new Error('must be an address like http://host:8123/torghut');
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error('must begin with http:// or https://');
  if (url.username || url.password)
    throw new Error('must not hold user and password; they have variables of their own');
  const database =
    url.searchParams.get('database') ?? url.searchParams.get('db') ?? url.pathname.replace(/^\/+|\/+$/g, '');
  if (!/^\w*$/.test(database)) throw new Error('must name the database with letters, digits and underscores');
  return { url: url.origin, database: database || embeddedDatabase };
}

function parseReplicaUrls(text: string): readonly string[] {
  return kind.csv(text).map((item) => {
    try {
      return parseClickHouseAddress(item).url;
    } catch (error) {
      throw new Error(`holds ${JSON.stringify(item)}, which ${(error as Error).message}`);
    }
  });
}

function parsePostgresDsn(text: string): string {
  let url: URL;
  try {
    url = new URL(text.trim());
  } catch {
    throw new Error('must be a connection string like postgresql://user:password@host:5432/torghut');
  }
  // SQLAlchemy's way of naming a driver, as the former system wrote it.
  if (!/^postgres(ql)?(\+\w+)?:$/.test(url.protocol)) throw new Error('must begin with postgresql://');
  return text.trim().replace(/^postgres(ql)?(\+\w+)?:/, 'postgresql:');
}
