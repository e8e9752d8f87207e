/**
 * Who holds a data directory. The engine and Postgres allow one process per directory, so the holder notes itself (pid and
 * start time), and the next start finds out whether that process lives.
 * Guarantees: a living holder whose own parent lives is never touched (`store_in_use`, exit 4); a holder that was left behind
 * by a parent that is gone is ended with -9, which both stores survive, before the directory is opened.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { refusedError } from '../lib/service/errors.ts';
import { isProcessAlive, processStartTicks } from '../lib/service/home.ts';
import { machineMs, sleep } from '../lib/service/machine.ts';

const holderSchema = z.object({
  pid: z.number().int(),
  start_ticks: z.string(),
  /** The parent whose death ends the holder; absent when nobody watches over it. */
  parent: z.object({ pid: z.number().int(), start_ticks: z.string() }).optional(),
});

type Holder = z.infer<typeof holderSchema>;

function readHolder(path: string): Holder | undefined {
  try {
    const parsed = holderSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** Is the holder a leftover: alive, but the parent it belonged to is gone? */
function isLeftBehind(holder: Holder): boolean {
  return holder.parent !== undefined && !isProcessAlive(holder.parent.pid, holder.parent.start_ticks);
}

/** Ends a process with -9 and waits until it is gone. @throws `store_in_use` when it stays for 5 machine s */
export async function endProcess(pid: number, startTicks: string): Promise<void> {
  const started = machineMs();
  while (isProcessAlive(pid, startTicks)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone in between, or not ours: the check above decides.
    }
    if (machineMs() - started > 5_000) throw inUse(pid, 'it cannot be ended');
    await sleep(10);
  }
}

function inUse(pid: number, why: string): Error {
  return refusedError({
    code: 'store_in_use',
    what: `the data directory is held by process ${pid}`,
    why,
    next: 'use the running one, or end that process first',
  });
}

export interface HeldDirectory {
  /** Forgets the note, if it is still ours. */
  release(): void;
}

/**
 * Takes a data directory for this process.
 * @throws `store_in_use` (exit 4) when a living process with a living parent holds it
 */
export async function holdDirectory(directory: string): Promise<HeldDirectory> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, 'holder.json');
  const isWatched = process.env.TORGHUT_PARENT === 'stdin';
  const deadline = machineMs() + 3_000;
  for (;;) {
    const other = readHolder(path);
    if (!other || other.pid === process.pid || !isProcessAlive(other.pid, other.start_ticks)) break;
    if (isLeftBehind(other)) {
      await endProcess(other.pid, other.start_ticks);
      break;
    }
    // One that is just ending (asked to stop by the same parent) gets the time a child has to end.
    if (machineMs() > deadline) throw inUse(other.pid, 'another process serves this home');
    await sleep(50);
  }
  const parentTicks = processStartTicks(process.ppid);
  const self: Holder = {
    pid: process.pid,
    start_ticks: processStartTicks(process.pid) ?? '',
    ...(isWatched && parentTicks !== undefined ? { parent: { pid: process.ppid, start_ticks: parentTicks } } : {}),
  };
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(self)}\n`);
  renameSync(`${path}.${process.pid}`, path);
  return {
    release: () => {
      if (readHolder(path)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}
