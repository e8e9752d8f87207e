/**
 * `torghut simulator`: source, clock, markets, trading side and server put together.
 * Guarantees: it is at market now before it says that it is ready; a home serves one source; with TORGHUT_CLOCK it follows
 * that clock file, alone it owns the one of its home and resumes where it stood.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { formatTimestampNs } from '../lib/market/time.ts';
import { type Clock, ownClockFile, virtualClock } from '../lib/service/clock.ts';
import { codeOf, describeError, refusedError, TorghutError, unreachableError } from '../lib/service/errors.ts';
import { announceService, findService, homePaths, torghutHome, withdrawService } from '../lib/service/home.ts';
import type { Lifecycle } from '../lib/service/lifecycle.ts';
import { type Logger, registerSecret } from '../lib/service/logging.ts';
import { createFaultRegistry } from './faults.ts';
import { createKeyCheck } from './keys.ts';
import { Market } from './market/market.ts';
import { declareMarketFaults } from './server/fault-names.ts';
import { startServer } from './server/server.ts';
import { Streams } from './server/streams.ts';
import { type ChosenSource, chooseSource, type SourceArguments } from './sources/choose.ts';
import { cryptoSource, testSource } from './sources/synthetic.ts';
import { createTradingSide } from './trading/index.ts';

export interface SimulatorOptions extends SourceArguments {
  speed: number;
  /** 0 picks a free one. */
  port: number;
  key?: string | undefined;
  secret?: string | undefined;
  home?: string | undefined;
  isFresh: boolean;
  plan: 'unlimited' | 'free';
  ghostMs: number;
  slowClientBytes: number;
  authDeadlineMs: number;
  /** Told the port when everything is ready. */
  onReady(port: number, chosen: ChosenSource): void;
}

/** Where the check of data files is remembered, by `up` too. */
function cachePath(): string {
  return join(torghutHome(), 'checked-inputs.json');
}

function homeOf(options: SimulatorOptions, env: NodeJS.ProcessEnv): string | undefined {
  if (options.home) return resolve(options.home);
  return env.TORGHUT_RUN_HOME ? resolve(env.TORGHUT_RUN_HOME) : undefined;
}

/** One home, one source: orders of one market must not meet the prices of another. */
function claimHome(home: string, chosen: ChosenSource, isFresh: boolean): void {
  const other = findService(home, 'simulator');
  if (other && other.pid !== process.pid) {
    throw refusedError({
      code: 'home_in_use',
      what: `another simulator runs in ${home}`,
      why: `process ${other.pid} serves ${other.url}`,
      next: 'end it, or give another --home',
    });
  }
  const folder = homePaths.simulator(home);
  const path = join(folder, 'source.json');
  if (isFresh) {
    rmSync(folder, { recursive: true, force: true });
    rmSync(homePaths.clock(home), { force: true });
  }
  mkdirSync(folder, { recursive: true });
  if (existsSync(path)) {
    const known = (JSON.parse(readFileSync(path, 'utf8')) as { identity?: string }).identity;
    if (known === chosen.identity) return;
    throw refusedError({
      code: 'home_other_source',
      what: `the home ${home} belongs to another source of market data`,
      why: 'its orders and its clock are those of other data, times or symbols',
      next: 'give another --home, or --fresh to begin this one anew',
    });
  }
  writeFileSync(path, `${JSON.stringify({ identity: chosen.identity, kind: chosen.kind })}\n`);
}

function openMarketClock(home: string, options: SimulatorOptions, startNs: bigint, lifecycle: Lifecycle): Clock {
  const setting = process.env.TORGHUT_CLOCK;
  if (setting !== undefined && setting !== '' && setting !== 'system') return virtualClock(setting);
  const path = homePaths.clock(home);
  mkdirSync(dirname(path), { recursive: true });
  const owner = ownClockFile(path, startNs, options.speed);
  const renewing = setInterval(() => owner.renew(), 50);
  lifecycle.onClose('clock', () => {
    clearInterval(renewing);
    owner.close();
  });
  return owner;
}

const unwritable = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'ENOTDIR', 'EEXIST']);

/** Runs what writes into the home. @throws `home_unwritable` (exit 3) for a full disk, missing rights and the like */
function inHome<T>(home: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    const code = codeOf(error);
    if (error instanceof TorghutError || code === undefined || !unwritable.has(code)) throw error;
    throw unreachableError({
      code: 'home_unwritable',
      what: `cannot write in the home ${home}`,
      why: code === 'ENOSPC' || code === 'EDQUOT' ? 'the disk is full' : (error as Error).message,
      next: 'free space or give another --home; nothing was changed',
      cause: error,
    });
  }
}

export async function runSimulator(options: SimulatorOptions, lifecycle: Lifecycle, log: Logger): Promise<void> {
  registerSecret(options.secret);
  const givenHome = homeOf(options, process.env);
  const chosen = await chooseSource(options, cachePath());
  const home = givenHome ?? join(torghutHome(), 'runs', `simulator-${chosen.identity.slice(0, 12)}`);
  const clock = inHome(home, () => {
    claimHome(home, chosen, options.isFresh);
    return openMarketClock(home, options, chosen.startNs, lifecycle);
  });

  const onProblem = (error: unknown) => {
    if (error instanceof TorghutError) {
      log.error({ code: error.code, why: error.why, next: error.next }, error.what);
      lifecycle.stop(error.code, error.exitCode);
    } else log.error({ err: error }, describeError(error));
  };
  const seed = options.synthetic ?? 0;
  const stocks = new Market(chosen.open(), clock, onProblem);
  const test = new Market(testSource(seed, chosen.startNs), clock, onProblem);
  const crypto = new Market(cryptoSource(seed, chosen.startNs), clock, onProblem);
  for (const market of [stocks, test, crypto]) {
    lifecycle.onClose('market', () => market.close());
    await market.start();
  }

  const faults = createFaultRegistry(seed);
  declareMarketFaults(faults);
  const { key, secret } = options;
  const keys = createKeyCheck(key !== undefined && secret !== undefined ? { keyId: key, secret } : undefined);
  const directory = join(homePaths.simulator(home), 'trading');
  inHome(home, () => mkdirSync(directory, { recursive: true }));
  const trading = await createTradingSide({ tape: stocks, clock, directory, faults, keys, log });
  const { plan, ghostMs, slowClientBytes, authDeadlineMs } = options;
  const streams = new Streams({
    stocks, test, crypto, keys, faults, plan, ghostMs, slowClientBytes, authDeadlineMs, connectionLimit: 1,
  }); // biome-ignore format: one list
  const server = await startServer({
    stocks,
    crypto,
    test,
    streams,
    trading,
    keys,
    faults,
    log,
    port: options.port,
    knownLastNs: chosen.lastEventNs,
    describeSource: {
      kind: chosen.kind,
      identity: chosen.identity,
      start: formatTimestampNs(chosen.startNs),
      builds_bars: !chosen.hasBars,
    },
  });
  lifecycle.onClose('server', () => server.close());
  inHome(home, () => announceService(home, 'simulator', { url: `http://127.0.0.1:${server.port}` }));
  lifecycle.onClose('announcement', () => withdrawService(home, 'simulator'));
  log.info({ port: server.port, home, market_now: formatTimestampNs(clock.nowNs()) }, 'simulator ready');
  options.onReady(server.port, chosen);
}
