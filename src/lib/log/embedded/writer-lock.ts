/**
 * Who is inside a write transaction of an environment, so that a waiter neither blocks its event loop nor waits for ever.
 * Guarantees: only politeness and a name. Mutual exclusion is LMDB's own mutex, which recovers from a dead holder; this
 * symbolic link (one atomic call, its target names the holder) is taken around it for the length of one transaction.
 *
 * Design 5: who waits over 2 machine seconds for a writer kills that process when pid and start time match, or reports
 * `log_locked` with the pid. A transaction takes milliseconds; a stopped holder keeps LMDB's mutex. One that waits for the disk
 * (state D) cannot be killed and is not hung: it gets more time.
 */
import { mkdirSync, readFileSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { codeOf, unreachableError } from '../../service/errors.ts';
import { isProcessAlive, processStartTicks } from '../../service/home.ts';
import { machineMs, machineNs, sleep } from '../../service/machine.ts';

/** Machine ms after which the holder of the lock is killed, and after which one that waits for the disk is reported. */
export const LOCK_PATIENCE_MS = 2_000;
const DISK_PATIENCE_MS = 20_000;

interface Holder {
  pid: number;
  ticks: string;
  /** Process-id namespace: a pid of another one cannot be judged or killed. */
  namespace: string;
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
  } catch {
    return '0';
  }
}

const self: Holder = {
  pid: process.pid,
  ticks: processStartTicks(process.pid) ?? '',
  namespace: pidNamespace(),
};

/** Namespace of this process's pids, for others that note who they are. */
export const ownPidNamespace: string = self.namespace;
export const ownStartTicks: string = self.ticks;

function parseHolder(text: string): Holder | undefined {
  const [pid, ticks, namespace] = text.split(':');
  return pid === undefined || ticks === undefined || namespace === undefined
    ? undefined
    : { pid: Number(pid), ticks, namespace };
}

function isGone(holder: Holder): boolean {
  return holder.namespace === self.namespace && !isProcessAlive(holder.pid, holder.ticks);
}

/** Is the process inside an uninterruptible wait, which for a holder is the flush of its commit? */
function isWaitingForDisk(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('D');
  } catch {
    return false;
  }
}

function currentHolder(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Removes the link of a dead holder, and no other: a link that was taken meanwhile is put back. */
function breakLock(path: string, seen: string): void {
  const aside = `${path}.${self.pid}`;
  try {
    renameSync(path, aside);
    const moved = readlinkSync(aside);
    if (moved !== seen) symlinkSync(moved, path);
  } catch {
    // Somebody else broke it or took it; the next attempt sees which.
  }
  try {
    unlinkSync(aside);
  } catch {
    // Never created.
  }
}

function lockedError(environment: string, holder: Holder, why: string) {
  return unreachableError({
    code: 'log_locked',
    what: `the event log ${environment} is held by process ${holder.pid}`,
    why,
    next: `end process ${holder.pid}, then try again`,
  });
}

/** @throws `log_locked` when it may not or cannot be killed */
function endHolder(environment: string, holder: Holder): void {
  if (holder.namespace !== self.namespace) throw lockedError(environment, holder, 'it runs in another container');
  if (holder.pid === self.pid) throw lockedError(environment, holder, 'this process holds it itself');
  try {
    process.kill(holder.pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return;
    throw lockedError(environment, holder, `it has been in one transaction for ${LOCK_PATIENCE_MS} ms`);
  }
}

/**
 * Takes the lock of an environment.
 * @returns the release function
 * @throws `log_locked` when the holder cannot be ended, and what the file system says (a full disk)
 */
export async function takeWriterLock(environment: string): Promise<() => void> {
  const path = join(environment, 'writer', 'holder');
  const mine = `${self.pid}:${self.ticks}:${self.namespace}:${machineNs()}`;
  let seen = '';
  let waitedMs = 0;
  let checkedAt = machineMs();
  let killed = false;
  for (let attempt = 0; ; attempt++) {
    try {
      symlinkSync(mine, path);
      return () => {
        try {
          if (readlinkSync(path) === mine) unlinkSync(path);
        } catch {
          // Broken by a waiter that held this process for dead.
        }
      };
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT') {
        mkdirSync(dirname(path), { recursive: true });
        continue;
      }
      if (code !== 'EEXIST') throw error;
    }
    const text = currentHolder(path);
    if (text === undefined) continue;
    const holder = parseHolder(text);
    if (!holder || isGone(holder)) {
      breakLock(path, text);
      continue;
    }
    if (text !== seen) {
      seen = text;
      waitedMs = 0;
      killed = false;
    } else if (waitedMs > LOCK_PATIENCE_MS && !(isWaitingForDisk(holder.pid) && waitedMs < DISK_PATIENCE_MS)) {
      if (killed) throw lockedError(environment, holder, 'it does not end');
      endHolder(environment, holder);
      killed = true;
      waitedMs = 0;
    }
    await sleep(Math.min(5, 0.2 * (attempt + 1)));
    // Time in which this process itself stood still (suspended, stopped with the others) is not the holder's fault.
    const now = machineMs();
    waitedMs += Math.min(50, now - checkedAt);
    checkedAt = now;
  }
}
