/**
 * How everything reaches its stores: the configured server, else the live embedded one of the home, else one that this
 * process starts for its own life.
 * A child of `up` (TORGHUT_PARENT=stdin) never starts one: `up` does, and the child waits for the endpoint to (re)appear.
 * Addresses are looked up anew for every call of `client()` and `dsn()`, so a store that was restarted on another port is found.
 */
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { loadConfig } from '../lib/service/config.ts';
import { type TorghutError, unreachableError } from '../lib/service/errors.ts';
import { findService, type ServiceEndpoint } from '../lib/service/home.ts';
import { registerSecret } from '../lib/service/logging.ts';
import { machineMs, sleep } from '../lib/service/machine.ts';
import { onCluster } from '../lib/signals/layout.ts';
import type { PartResolver } from './parts.ts';
import { findOrStart, type RunningStore, type StoreName } from './start.ts';
import { embeddedDatabase, storeVariables } from './variables.ts';

export interface ConnectOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** Ends a wait. */
  signal?: AbortSignal;
  parts?: PartResolver;
  /** False: an embedded store that is not running is not started, and not waited for. */
  mayStart?: boolean;
}

export interface SignalStoreSource {
  readonly isEmbedded: boolean;
  readonly database: string;
  /**
   * A client of the store as it can be reached now; the same one while the address stays. Do not close it. After a connection
   * error just call this again.
   * @throws `service_unreachable` (exit 3, may be retried) when the embedded store does not appear in time
   */
  client(): Promise<ClickHouseClient>;
  /** Makes the database on the configured server or cluster, when it is missing there (the embedded engine has it). */
  createDatabase(cluster?: string): Promise<void>;
  close(): Promise<void>;
}

export interface SignalStore {
  client: ClickHouseClient;
  url: string;
  database: string;
  embedded: boolean;
  close(): Promise<void>;
}

export interface LedgerSource {
  readonly isEmbedded: boolean;
  /** Connection string of the ledger as it can be reached now. @throws as SignalStoreSource.client */
  dsn(): Promise<string>;
  close(): Promise<void>;
}

/**
 * Waits until a service of the home is announced by a living process.
 * @throws `service_unreachable` (exit 3, may be retried) after `timeoutMs` machine ms or when the signal aborts
 */
export async function waitForService(
  home: string,
  name: StoreName,
  options: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<ServiceEndpoint> {
  const deadline = machineMs() + options.timeoutMs;
  for (;;) {
    const live = findService(home, name);
    if (live) return live;
    if (options.signal?.aborted || machineMs() > deadline) throw notThere(name);
    await sleep(20, options.signal);
  }
}

function notThere(name: StoreName): TorghutError {
  return unreachableError({
    code: 'service_unreachable',
    what: `${name} of this home is not running`,
    why: 'no living process has announced it',
    next: 'look at the log of `torghut up`, which starts it again',
  });
}

/** An embedded store, found or started, looked for anew whenever it is gone. */
class EmbeddedStore {
  readonly #options: ConnectOptions;
  readonly #name: StoreName;
  readonly #timeoutMs: number;
  #started: RunningStore | undefined;
  #starting: Promise<ServiceEndpoint> | undefined;
  #isClosed = false;

  constructor(options: ConnectOptions, name: StoreName, timeoutMs: number) {
    this.#options = options;
    this.#name = name;
    this.#timeoutMs = timeoutMs;
  }

  async endpoint(): Promise<ServiceEndpoint> {
    const live = findService(this.#options.home, this.#name);
    if (live) return live;
    if (this.#isClosed) throw notThere(this.#name);
    const { home, signal, parts, env = process.env, mayStart = true } = this.#options;
    if (!mayStart) throw notThere(this.#name);
    if (env.TORGHUT_PARENT === 'stdin') {
      return waitForService(home, this.#name, { timeoutMs: this.#timeoutMs, signal });
    }
    this.#starting ??= findOrStart(home, this.#name, { signal, parts })
      .then((store) => {
        this.#started = store;
        return store.endpoint;
      })
      .finally(() => {
        this.#starting = undefined;
      });
    return this.#starting;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#starting?.catch(() => undefined);
    await this.#started?.close();
  }
}

/** The signal store for a daemon: survives restarts of the store. */
export function signalStoreSource(options: ConnectOptions): SignalStoreSource {
  const env = options.env ?? process.env;
  const { values } = loadConfig(storeVariables, env);
  const requestTimeoutMs = values.TA_CLICKHOUSE_CONN_TIMEOUT_SECONDS * 1000;
  const connect = (url: string, username: string, password: string, database: string) =>
    createClient({
      url,
      username,
      password,
      database,
      request_timeout: requestTimeoutMs,
      application: 'torghut',
      // Errors are thrown to the caller, who says what they mean; the client's own lines would print queries.
      log: { level: ClickHouseLogLevel.OFF },
    });
  const address = values.TA_CLICKHOUSE_URL;
  if (address) {
    const client = connect(address.url, values.TA_CLICKHOUSE_USERNAME, values.TA_CLICKHOUSE_PASSWORD, address.database);
    return {
      isEmbedded: false,
      database: address.database,
      client: async () => client,
      createDatabase: async (cluster) => {
        const { TA_CLICKHOUSE_USERNAME: user, TA_CLICKHOUSE_PASSWORD: password } = values;
        const plain = connect(address.url, user, password, 'default');
        try {
          const on = onCluster({ cluster });
          await plain.command({ query: `CREATE DATABASE IF NOT EXISTS ${address.database}${on}` });
        } finally {
          await plain.close();
        }
      },
      close: () => client.close(),
    };
  }
  const store = new EmbeddedStore(options, 'clickhouse', requestTimeoutMs);
  let current: { key: string; client: ClickHouseClient } | undefined;
  return {
    isEmbedded: true,
    database: embeddedDatabase,
    client: async () => {
      const { url, user, password, pid } = await store.endpoint();
      const key = `${url} ${pid} ${password}`;
      if (current?.key === key) return current.client;
      registerSecret(password);
      const former = current?.client;
      current = { key, client: connect(url, user ?? 'default', password ?? '', embeddedDatabase) };
      // Requests on the former client fail by themselves: its server is gone.
      void former?.close().catch(() => undefined);
      return current.client;
    },
    createDatabase: async () => undefined,
    close: async () => {
      await current?.client.close();
      await store.close();
    },
  };
}

/** The signal store for one command: a client with its address. */
export async function openSignalStore(options: ConnectOptions): Promise<SignalStore> {
  const source = signalStoreSource(options);
  try {
    const client = await source.client();
    const { values } = loadConfig(storeVariables, options.env ?? process.env);
    const url = values.TA_CLICKHOUSE_URL?.url ?? findService(options.home, 'clickhouse')?.url ?? '';
    return { client, url, database: source.database, embedded: source.isEmbedded, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The ledger for a daemon: survives restarts of the store. */
export function ledgerSource(options: ConnectOptions): LedgerSource {
  const { values } = loadConfig(storeVariables, options.env ?? process.env);
  const configured = values.DB_DSN;
  if (configured !== undefined) {
    registerSecret(configured);
    return { isEmbedded: false, dsn: async () => configured, close: async () => undefined };
  }
  const store = new EmbeddedStore(options, 'postgres', values.TA_CLICKHOUSE_CONN_TIMEOUT_SECONDS * 1000);
  return {
    isEmbedded: true,
    dsn: async () => {
      const endpoint = await store.endpoint();
      registerSecret(endpoint.password);
      const dsn = endpoint.extra?.dsn;
      if (dsn === undefined) throw notThere('postgres');
      return dsn;
    },
    close: () => store.close(),
  };
}

/** The ledger for one command. */
export async function openLedger(options: ConnectOptions): Promise<{ dsn: string; close(): Promise<void> }> {
  const source = ledgerSource(options);
  try {
    return { dsn: await source.dsn(), close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}
