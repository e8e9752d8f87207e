/**
 * Named points at which a test lets the process die by SIGKILL, so that crash safety is shown on the shipped code.
 * Guarantee: inert unless TORGHUT_CRASH_AT names the point; a point strikes once per report file, so a restarted process
 * with the same environment lives on. `name` strikes at the first pass, `name#3` at the third.
 */
import { appendFileSync, readFileSync } from 'node:fs';

/** Every point; a name outside this list does not compile. */
export const crashPoints = [
  'claim.before', 'claim.committed', 'check.done', 'broker_io.before', 'broker_io.committed', 'post.before', 'post.after',
  'settle.before', 'settle.in_transaction', 'settle.committed', 'refuse.before', 'refuse.committed',
  'lookup.before', 'lookup.after', 'expire.before', 'expire.committed', 'recover.before', 'recover.after',
  'feed.before', 'feed.in_transaction', 'feed.committed',
  'reconcile.listed', 'reconcile.order_before', 'reconcile.order_applied', 'reconcile.fills_listed', 'reconcile.done',
  'cancel.before', 'cancel.after', 'cancel.settled', 'leader.acquired',
  'cycle.before', 'cycle.decided', 'cycle.in_transaction', 'cycle.committed', 'cycle.risk_done', 'cycle.submitted',
] as const; // biome-ignore format: one list

/** Points of a replay of ta. */
export const replayCrashPoints = [
  'replay.created', 'replay.collecting', 'replay.seeded', 'replay.computing', 'replay.computed', 'replay.saving',
  'replay.saved', 'replay.staged', 'replay.swapped', 'replay.promoted', 'replay.rolled_back', 'replay.discarding',
  'replay.kept', 'replay.dropping', 'replay.dropped', 'replay.emptied', 'replay.reseeded', 'replay.recorded',
] as const; // biome-ignore format: one list

export type CrashPoint = (typeof crashPoints)[number] | (typeof replayCrashPoints)[number];

let passes = 0;
let wasReported: boolean | undefined;

function isAlreadyReported(path: string, target: string): boolean {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .some((line) => line.startsWith(`${target} `));
  } catch {
    return false;
  }
}

/** Ends this process by SIGKILL when the environment names the point; writes the hit to TORGHUT_CRASH_REPORT first. */
export function crashPoint(name: CrashPoint): void {
  const target = process.env.TORGHUT_CRASH_AT;
  if (target === undefined || target === '') return;
  const [point, count] = target.split('#');
  if (point !== name) return;
  passes += 1;
  if (passes < Number(count ?? 1)) return;
  const report = process.env.TORGHUT_CRASH_REPORT;
  if (report) {
    wasReported ??= isAlreadyReported(report, target);
    if (wasReported) return;
    appendFileSync(report, `${target} ${process.pid}\n`);
  }
  process.kill(process.pid, 'SIGKILL');
}
