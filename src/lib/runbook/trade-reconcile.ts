/**
 * Reconcile after an outage (spec 10.4): what differs, one plan with an id, passes until one changes nothing.
 * Guarantee: "agreed" means that a pass after the last change found nothing to change, no outcome is unknown, and no
 * finding that pages is open.
 */
import type { ClassifiedOrder } from '../orders/classify.ts';
import { orderClasses } from '../orders/classify.ts';
import { machineMs, sleep } from '../service/machine.ts';
import { type Check, planIdOf, verdictOf } from './plan.ts';

export interface ReconcilePlan {
  id: string;
  accountLabel: string;
  /** Number of orders and positions by class. */
  counts: Record<string, number>;
  /** Everything but what matches. */
  differences: readonly ClassifiedOrder[];
}

export function planReconcile(accountLabel: string, orders: readonly ClassifiedOrder[]): ReconcilePlan {
  const differences = orders.filter((order) => order.class !== 'matched');
  const counts = Object.fromEntries(
    orderClasses.map((name) => [name, orders.filter((order) => order.class === name).length]),
  );
  const facts = differences.map((order) => [order.class, order.subject, order.ledger, order.broker].join(' ')).sort();
  return { id: planIdOf({ action: 'reconcile', accountLabel, facts }), accountLabel, counts, differences };
}

/** What a pass tells, whoever made it. */
export interface PassReport {
  changes: number;
  ordersSeen: number;
  fillsAdded: number;
  statesChanged: number;
  claimsResolved: number;
  adopted: number;
  unknownClaims: number;
  openOrders: number;
  findings: readonly { kind: string; subject: string; isPaging: boolean }[];
}

export interface ReconcileResult {
  passes: readonly PassReport[];
  isAgreed: boolean;
}

/** Machine ms between two passes: unknown outcomes have a deadline that must come. */
const BETWEEN_MS = 250;

/** Passes until one changes nothing and no outcome is unknown, at least two, for at most `limitMs` machine ms. */
export async function reconcileUntilQuiet(
  pass: () => Promise<PassReport>,
  limitMs: number,
  signal?: AbortSignal,
): Promise<ReconcileResult> {
  const until = machineMs() + limitMs;
  const passes: PassReport[] = [];
  for (;;) {
    const report = await pass();
    passes.push(report);
    const isQuiet = passes.length > 1 && report.changes === 0 && report.unknownClaims === 0;
    if (isQuiet) return { passes, isAgreed: !report.findings.some((finding) => finding.isPaging) };
    if (machineMs() >= until || signal?.aborted) return { passes, isAgreed: false };
    await sleep(BETWEEN_MS, signal);
  }
}

/** Names of the checks of `reconcile`, as its runbook page lists them. */
export const reconcileCheckIds = ['held', 'second_pass', 'unknown_claims', 'paging_findings'] as const;

/** @param isHeld is trading paused or stopped? Decisions of a running loop keep changing what is compared. */
export function reconcileChecks(result: ReconcileResult | undefined, isHeld: boolean): Check[] {
  const held: Check = {
    id: 'held',
    signal: 'trading is paused or stopped while one looks',
    value: String(isHeld),
    verdict: verdictOf(isHeld),
  };
  const last = result?.passes.at(-1);
  if (!result || !last) return [held];
  const paging = last.findings.filter((finding) => finding.isPaging);
  const check = (id: (typeof reconcileCheckIds)[number], signal: string, value: string, isOk: boolean): Check => ({
    id,
    signal,
    value,
    verdict: verdictOf(isOk),
  });
  return [
    held,
    check(
      'second_pass',
      'a pass after the last change changes nothing',
      `${last.changes} changes in pass ${result.passes.length}`,
      last.changes === 0,
    ),
    check('unknown_claims', 'no order of unknown outcome', String(last.unknownClaims), last.unknownClaims === 0),
    check(
      'paging_findings',
      'no orphan, drift or missing order is open',
      paging.map((finding) => `${finding.kind} ${finding.subject}`).join('; ') || 'none',
      paging.length === 0,
    ),
  ];
}
