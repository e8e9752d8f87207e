/**
 * Processes of an earlier `up` of the same home: a second live `up` is refused, orphans of a killed one are ended before
 * anything is started (they would end by themselves within 3 s).
 */
import { readdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { refusedError } from '../../lib/service/errors.ts';
import { findService, homePaths, isProcessAlive, type ServiceName } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';

/** @throws `home_in_use` (exit 4) */
export function refuseSecondUp(home: string): void {
  const other = findService(home, 'up');
  if (other && other.pid !== process.pid) {
    throw refusedError({
      code: 'home_in_use',
      what: `another \`torghut up\` (pid ${other.pid}) works on ${home}`,
      next: 'stop it first, or name another folder with --home',
    });
  }
}

/** Ends what an earlier `up` left running. */
export async function endLeftovers(home: string, log: Logger): Promise<void> {
  let names: string[];
  try {
    names = readdirSync(homePaths.services(home));
  } catch {
    return;
  }
  const alive = names
    .filter((name) => name.endsWith('.json') && name !== 'up.json')
    .flatMap((name) => findService(home, name.slice(0, -5) as ServiceName) ?? []);
  for (const endpoint of alive) {
    log.info({ process: endpoint.name, child_pid: endpoint.pid }, 'ending a process of an earlier run');
    try {
      process.kill(endpoint.pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
  const limit = machineMs() + 5_000;
  while (machineMs() < limit && alive.some(({ pid, start_ticks }) => isProcessAlive(pid, start_ticks))) await sleep(20);
}
