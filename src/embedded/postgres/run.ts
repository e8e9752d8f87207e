/**
 * `torghut embedded postgres`: Postgres 18 of a home as a daemon of its own, announced with its dsn.
 * When the postmaster ends by itself this process ends too (exit 3): whoever started it starts it again, and the next start
 * cleans up.
 */
import { join } from 'node:path';
import { unreachableError } from '../../lib/service/errors.ts';
import { announceService, homePaths, withdrawService } from '../../lib/service/home.ts';
import { createLifecycle, runDaemon, whenAborted } from '../../lib/service/lifecycle.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { keptPassword } from '../credentials.ts';
import { holdDirectory } from '../holder.ts';
import { findPostgres, type PartResolver } from '../parts.ts';
import { lastPort, rememberPort } from '../ports.ts';
import { postgresUser } from './cluster.ts';
import { preparePostgres } from './install.ts';
import { rotateServerLog, startPostgres } from './server.ts';

export interface EmbeddedStoreOptions {
  home: string;
  /** 0 picks one: the last one when it is free. */
  port: number;
  parts?: PartResolver;
}

/** Runs until it is told to stop; returns the exit code. */
export async function runEmbeddedPostgres(options: EmbeddedStoreOptions): Promise<number> {
  const log = createLogger('postgres');
  const native = findPostgres(options.parts);
  const lifecycle = createLifecycle({ log, drainMs: 2_700 });
  return runDaemon(lifecycle, log, async () => {
    const directory = homePaths.postgres(options.home);
    const held = await holdDirectory(directory);
    lifecycle.onClose('holder', held.release);
    rotateServerLog(directory);
    const server = await startPostgres({
      directory,
      binaries: preparePostgres(native, join(directory, 'lib')),
      password: keptPassword(join(directory, 'password')),
      port: options.port || undefined,
      preferredPort: lastPort(directory),
      signal: lifecycle.signal,
    });
    lifecycle.onClose('postgres', () => server.stop());
    if (lifecycle.signal.aborted) return server.stop();
    rememberPort(directory, server.port);
    announceService(options.home, 'postgres', {
      url: `postgresql://127.0.0.1:${server.port}`,
      user: postgresUser,
      password: keptPassword(join(directory, 'password')),
      extra: { dsn: server.dsn, postmaster_pid: String(server.pid) },
    });
    lifecycle.onClose('endpoint', () => withdrawService(options.home, 'postgres'));
    log.info({ port: server.port, postmaster: server.pid }, 'postgres is ready');
    const ended = await Promise.race([server.ended, whenAborted(lifecycle.signal)]);
    if (ended && !lifecycle.signal.aborted) {
      throw unreachableError({
        code: 'postgres_ended',
        what: 'Postgres ended by itself',
        why: `exit code ${ended.code}, signal ${ended.signal}`,
        next: 'start it again; it recovers by itself',
      });
    }
  });
}
