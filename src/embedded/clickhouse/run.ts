/**
 * `torghut embedded clickhouse`: the ClickHouse engine of a home behind its HTTP front, as a daemon of its own.
 * One process: a kill -9 leaves nothing behind, and the engine's files need no clean stop (measured: no acknowledged row lost).
 */
import { join } from 'node:path';
import { refusedError } from '../../lib/service/errors.ts';
import { announceService, homePaths, withdrawService } from '../../lib/service/home.ts';
import { listen } from '../../lib/service/http.ts';
import { createLifecycle, runDaemon, whenAborted } from '../../lib/service/lifecycle.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { keepReserve } from '../../lib/signals/disk/reserve.ts';
import { keptPassword } from '../credentials.ts';
import { holdDirectory } from '../holder.ts';
import { findClickHouseEngine, type PartResolver } from '../parts.ts';
import { isPortFree, lastPort, rememberPort } from '../ports.ts';
import { embeddedDatabase } from '../variables.ts';
import { type Engine, openEngine } from './engine.ts';
import { EngineError } from './errors.ts';
import { createFront } from './front.ts';

export const clickHouseUser = 'torghut';

/** Threads that the command asks Node for: room for reads, inserts and control statements side by side. */
export const enginePoolThreads = 32;

export interface EmbeddedClickHouseOptions {
  home: string;
  /** 0 picks one: the last one when it is free. */
  port: number;
  parts?: PartResolver;
}

/** Runs until it is told to stop; returns the exit code. */
export async function runEmbeddedClickHouse(options: EmbeddedClickHouseOptions): Promise<number> {
  const log = createLogger('clickhouse');
  const addon = findClickHouseEngine(options.parts);
  const lifecycle = createLifecycle({ log, drainMs: 2_500 });
  // Whatever the engine's threads do, the process is gone 2.7 s after it was told to end; the data allow it.
  lifecycle.signal.addEventListener('abort', () => {
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2_700).unref();
  });
  return runDaemon(lifecycle, log, async () => {
    const directory = homePaths.clickhouse(options.home);
    const held = await holdDirectory(directory);
    lifecycle.onClose('holder', held.release);
    const engine = await openHeldEngine(addon, join(directory, 'data'));
    if (lifecycle.signal.aborted) return;
    // Given up by `torghut clickhouse disk` when there is no byte left for the engine's own bookkeeping.
    keepReserve(options.home);
    const password = keptPassword(join(directory, 'password'));
    const poolThreads = Number(process.env.UV_THREADPOOL_SIZE) || 4;
    const front = createFront({ engine, user: clickHouseUser, password, poolThreads });
    const last = lastPort(directory);
    const preferred = options.port === 0 && last !== undefined && (await isPortFree(last)) ? last : options.port;
    const port = await listen(front.server, preferred);
    rememberPort(directory, port);
    lifecycle.onClose('front', async () => {
      front.server.close();
      const isIdle = await front.drain(1_500);
      front.server.closeAllConnections();
      if (!isIdle) log.warn('statements were still running; the process ends without waiting for them');
      // A thread inside the engine would keep the process alive.
      if (!isIdle) process.kill(process.pid, 'SIGKILL');
    });
    announceService(options.home, 'clickhouse', {
      url: `http://127.0.0.1:${port}`,
      user: clickHouseUser,
      password,
    });
    lifecycle.onClose('endpoint', () => withdrawService(options.home, 'clickhouse'));
    log.info({ port, version: engine.version, pool_threads: poolThreads }, 'the ClickHouse engine is ready');
    await whenAborted(lifecycle.signal);
  });
}

async function openHeldEngine(addon: string, directory: string): Promise<Engine> {
  try {
    const engine = await openEngine(addon, directory);
    const connection = engine.connect();
    await connection.query(`CREATE DATABASE IF NOT EXISTS ${embeddedDatabase}`);
    connection.close();
    return engine;
  } catch (error) {
    if (!(error instanceof EngineError) || error.exceptionCode !== 76) throw error;
    throw refusedError({
      code: 'store_in_use',
      what: 'the ClickHouse data directory is held by another process',
      why: error.message,
      next: 'use the running engine, or end the process that holds the directory',
      cause: error,
    });
  }
}
