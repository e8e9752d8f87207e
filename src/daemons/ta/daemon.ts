/**
 * `torghut ta`: the engine, the sink, or both in one process. The sink is its own failure domain: its end does not end the
 * engine; when the engine ends, so does the process.
 */
import { runEngineDaemon, type TaDaemonOptions } from './engine.ts';

export type TaPart = 'engine' | 'sink';

/** @returns the exit code of the engine, or of the sink when it runs alone */
export async function runTaDaemon(options: TaDaemonOptions & { only?: TaPart }): Promise<number> {
  const { only, ...rest } = options;
  if (only === 'engine') return runEngineDaemon(rest);
  const { runSinkDaemon } = await import('../sink/daemon.ts');
  if (only === 'sink') return runSinkDaemon(rest);
  // One port is given for the engine; the sink takes its own setting.
  const sink = runSinkDaemon({ home: rest.home, port: 0, ...(rest.env ? { env: rest.env } : {}) });
  const code = await runEngineDaemon(rest);
  process.kill(process.pid, 'SIGTERM');
  await sink;
  return code;
}
