/**
 * Watches the running loop until it shows what an operator's change must lead to (spec 10.2, 10.3: "verify").
 * Guarantee: "verified" means that the loop itself said so over two further cycles; a loop that does not answer verifies
 * nothing.
 */
import { z } from 'zod';
import { machineMs, sleep } from '../service/machine.ts';
import type { Check } from './plan.ts';

const statusSchema = z.looseObject({
  cycles: z.number(),
  paused: z.boolean(),
  kill_switch: z.boolean(),
  emergency_stop: z.string().nullable(),
  decisions_total: z.number(),
  decisions: z.looseObject({ submitted: z.number() }),
  orders_open: z.number(),
  unknown_claims: z.number(),
  reconcile_changes_last_pass: z.number(),
});
export type LoopStatus = z.infer<typeof statusSchema>;

export interface Expectation {
  id: string;
  signal: string;
  value(status: LoopStatus): string;
  holds(status: LoopStatus): boolean;
}

/** What must hold in each status of the two cycles. */
export const expectations = {
  pause: [
    { id: 'paused', signal: 'the loop says that it is paused', value: (s) => String(s.paused), holds: (s) => s.paused },
  ],
  stop: [
    {
      id: 'kill_switch',
      signal: 'the loop says that the kill switch is on',
      value: (s) => String(s.kill_switch),
      holds: (s) => s.kill_switch,
    },
    {
      id: 'orders_open',
      signal: 'no order is open',
      value: (s) => String(s.orders_open),
      holds: (s) => s.orders_open === 0,
    },
    {
      id: 'reconcile_clean',
      signal: 'no unknown order, and the last reconcile pass changed nothing',
      value: (s) => `${s.unknown_claims} unknown, ${s.reconcile_changes_last_pass} changes`,
      holds: (s) => s.unknown_claims === 0 && s.reconcile_changes_last_pass === 0,
    },
  ],
  resume: [
    {
      id: 'released',
      signal: 'the loop is neither paused nor stopped (its environment can hold it too)',
      value: (s) => `paused ${s.paused}, kill switch ${s.kill_switch}, emergency stop ${s.emergency_stop ?? 'none'}`,
      holds: (s) => !s.paused && !s.kill_switch && s.emergency_stop === null,
    },
  ],
} as const satisfies Record<string, readonly Expectation[]>;

/** Counts that must stand still over the two cycles. */
const flat: Record<keyof typeof expectations, { id: string; signal: string; count(status: LoopStatus): number }> = {
  pause: { id: 'decisions_flat', signal: 'no decision over two cycles', count: (s: LoopStatus) => s.decisions_total },
  stop: { id: 'submits_flat', signal: 'no submit over two cycles', count: (s: LoopStatus) => s.decisions.submitted },
  resume: { id: 'cycles', signal: 'two cycles have passed so', count: () => 0 },
};

/** Names of the checks that `--wait` makes after an action, as the runbook pages list them. */
export function verifyCheckIds(action: keyof typeof expectations): string[] {
  const still = flat[action];
  return [...expectations[action].map(({ id }) => id), still.id];
}

export interface WatchOptions {
  /** Machine ms. */
  timeoutMs: number;
  signal?: AbortSignal;
}

/** @param read the loop's status; its errors mean "not now" @returns the checks as they stood at the end */
export async function watchLoop(
  action: keyof typeof expectations,
  read: () => Promise<unknown>,
  options: WatchOptions,
): Promise<Check[]> {
  const until = machineMs() + options.timeoutMs;
  const wanted: readonly Expectation[] = expectations[action];
  const still = flat[action];
  let since: { cycles: number; count: number } | undefined;
  let last: LoopStatus | undefined;
  let isVerified = false;
  for (;;) {
    last = statusSchema.safeParse(await read().catch(() => undefined)).data;
    const count = last ? still.count(last) : 0;
    if (!last || !wanted.every((item) => item.holds(last as LoopStatus))) since = undefined;
    // A restarted loop counts its cycles anew.
    else if (!since || since.count !== count || last.cycles < since.cycles) since = { cycles: last.cycles, count };
    else if (last.cycles >= since.cycles + 2) isVerified = true;
    if (isVerified || machineMs() >= until || options.signal?.aborted) break;
    await sleep(100, options.signal);
  }
  const seen = last;
  const checks = wanted.map((item): Check => {
    if (!seen) return { id: item.id, signal: item.signal, value: 'the loop does not answer', verdict: 'unknown' };
    return { id: item.id, signal: item.signal, value: item.value(seen), verdict: item.holds(seen) ? 'ok' : 'problem' };
  });
  const verdict = isVerified ? 'ok' : seen ? 'problem' : 'unknown';
  return [
    ...checks,
    {
      id: still.id,
      signal: still.signal,
      value: seen ? `${seen.cycles} cycles, count ${still.count(seen)}` : '',
      verdict,
    },
  ];
}
