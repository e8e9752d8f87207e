/**
 * Pause, stop and resume from plan to verification (spec 10.2, 10.3).
 * Guarantees: nothing changes without consent to the very plan that was shown; the kill switch comes before anything else of
 * a stop; each change leaves an audit event; what could not be verified is said so.
 */

import { toJsonb } from '../../lib/ledger/jsonb.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import { type Check, planIdOf } from '../../lib/runbook/plan.ts';
import { isWell, type Report } from '../../lib/runbook/report.ts';
import {
  type ControlAction,
  type ControlPlan,
  cancelCheckId,
  demandResumable,
  planPause,
  planResume,
  planStop,
  resumeChecks,
} from '../../lib/runbook/trade-controls.ts';
import { verifyCheckIds, watchLoop } from '../../lib/runbook/trade-verify.ts';
import { exitCode } from '../../lib/service/errors.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { brokerHours } from '../../lib/trading/broker-view.ts';
import { sessionGate } from '../../lib/trading/session.ts';
import { dailyLossReason, dayStartMs } from '../../lib/trading/stops.ts';
import { flatten, planFlatten } from './flatten.ts';
import type { Operator } from './operator.ts';

export interface ChangeOptions {
  reason: string;
  actor: string;
  /** Plan ids that were agreed to. */
  confirm: readonly string[];
  yes: boolean;
  dryRun: boolean;
  wait: boolean;
  /** Machine ms that --wait waits. */
  timeoutMs: number;
  /** stop: also cancel every open order, with or without a running loop. */
  cancelOpen: boolean;
  /** stop: also close every position. */
  flatten: boolean;
  /** Shows a line to the person who decides. */
  tell(line: string): void;
}

export interface Outcome {
  report: Report;
  exitCode: number;
}

export async function changeControls(
  action: ControlAction,
  operator: Operator,
  options: ChangeOptions,
): Promise<Outcome> {
  const { accountLabel, control, clock } = operator;
  const before = await operator.ledger.read.account.controls(accountLabel);
  const stop = action === 'resume' ? await control.lastStop(accountLabel) : undefined;
  const plan = action === 'pause' ? planPause(before) : action === 'stop' ? planStop(before) : planResume(before, stop);
  const checks = action === 'resume' && plan.steps.length > 0 ? await conditions(operator, plan, options.actor) : [];
  for (const step of plan.steps) options.tell(`plan ${plan.id}: ${step}`);
  const cancel = action === 'stop' && options.cancelOpen ? await planCancel(operator) : undefined;
  if (cancel) for (const step of cancel.steps) options.tell(`plan ${cancel.id}: ${step}`);
  const closing = action === 'stop' && options.flatten ? await planFlatten(operator) : undefined;
  if (closing) for (const step of closing.steps) options.tell(`plan ${closing.id}: ${step}`);
  const shown = [plan, cancel, closing].flatMap((one) => (one ? [one.id] : []));
  if (!options.dryRun && plan.steps.length > 0 && action === 'resume') demandResumable(checks);

  const isAgreed = plan.steps.length > 0 && (await consent(plan, shown, options));
  if (isAgreed) {
    const why = { reason: options.reason, actor: options.actor, atMs: clock.nowMs() };
    await control.changeControls(accountLabel, plan.change, why, action === 'resume' ? before : undefined);
    options.tell(`done ${plan.id}: ${action} of ${accountLabel} by ${options.actor}`);
  }
  const isSo = isAgreed || plan.steps.length === 0;
  if (isSo && cancel && cancel.steps.length > 0) checks.push(...(await cancelOpen(operator, cancel, shown, options)));
  if (isSo && closing) {
    checks.push(...(await flatten(operator, closing, givenFor(closing.id, shown, options.confirm), options)));
  }
  if (isSo && options.wait && !options.dryRun) {
    const since = machineMs();
    const seen = await verify(action, operator, options);
    checks.push(...seen);
    // A stop that the loop was seen to obey is the drill that going live asks for.
    if (action === 'stop' && isAgreed && operator.daemonUrl !== undefined && isWell(seen)) {
      const { reason, actor } = options;
      const after = toJsonb({ accountLabel, seconds: (machineMs() - since) / 1_000 });
      await control.audit({ action: 'stop_verified', reason, actor, atMs: clock.nowMs(), after });
    }
  }

  const after = await operator.ledger.read.account.controls(accountLabel);
  const report: Report = {
    action,
    account_label: accountLabel,
    plan_id: plan.id,
    applied: isAgreed,
    paused: after.paused,
    kill_switch: after.killSwitch,
    emergency_stop: after.emergencyStopReason ?? null,
    reason: after.reason ?? null,
    actor: after.actor ?? null,
    ...(cancel ? { cancel_plan_id: cancel.id, orders: cancel.orders.join(' ') } : {}),
    ...(closing ? { flatten_plan_id: closing.id, positions: closing.steps.join('; ') } : {}),
    effective: operator.daemonUrl === undefined ? 'no loop of this home is running' : 'with the next cycle of the loop',
    checks,
  };
  return { report, exitCode: checks.every((check) => check.verdict === 'ok') ? exitCode.ok : worst(checks) };
}

const worst = (checks: readonly Check[]): number =>
  checks.some((check) => check.verdict === 'problem') ? exitCode.problemFound : exitCode.cannotDetermine;

/** The id to hold against a plan: its own where it was given, else one that belongs to no plan shown now. */
function givenFor(id: string, shown: readonly string[], confirm: readonly string[]): string | undefined {
  return confirm.includes(id) ? id : confirm.find((other) => !shown.includes(other));
}

function consent(plan: ControlPlan, shown: readonly string[], options: ChangeOptions): Promise<boolean> {
  return askConsent({
    what: plan.steps.join('; '),
    planId: plan.id,
    // An id that has become old must not keep the kill switch off where --yes is enough.
    confirm:
      options.yes && !plan.needsConfirm && !options.confirm.includes(plan.id)
        ? undefined
        : givenFor(plan.id, shown, options.confirm),
    yes: options.yes,
    dryRun: options.dryRun,
    isDestructive: plan.needsConfirm,
  });
}

/** The conditions of 10.3 as they are now. */
async function conditions(operator: Operator, plan: ControlPlan, actor: string): Promise<Check[]> {
  const { accountLabel, clock, ledger, control, config } = operator;
  const [reconciledAtMs, counts, findings, stop, flattening, standingStops, ends] = await Promise.all([
    ledger.orderRead.findings.lastPassAtMs(accountLabel),
    ledger.orderRead.openCounts(accountLabel),
    ledger.orderRead.findings.open(accountLabel),
    control.lastStop(accountLabel),
    control.flatten.active(accountLabel),
    stopsThatStand(operator),
    operator
      .signals()
      .ends()
      .catch(() => undefined),
  ]);
  // Without keys the shipped calendar says whether the session is open.
  const gate = sessionGate(clock, {
    session: async () => brokerHours(operator.broker()).session(),
    days: async (nowMs) => brokerHours(operator.broker()).days(nowMs),
  });
  return resumeChecks({
    nowMs: clock.nowMs(),
    session: (await gate.state()).state,
    ends,
    cursor: await ledger.read.cursors.positions(accountLabel, operator.runId),
    reconciledAtMs,
    reconcileEveryMs: config.TRADING_RECONCILE_MS,
    unresolvedClaims: counts.unknownClaims,
    driftSymbols: findings.filter(({ kind }) => kind === 'position_drift').map(({ subject }) => subject),
    isFlattening: flattening !== undefined,
    standingStops,
    controls: plan.before,
    stop,
    actor,
  });
}

/** The stop of the session that its newest equity would latch again; a drawdown is counted anew from a release. */
async function stopsThatStand({ accountLabel, ledger, clock, config }: Operator): Promise<string[]> {
  const limit = config.TRADING_DAILY_LOSS_STOP_PCT_EQUITY;
  const { account } = ledger.read;
  const [first, newest] = await Promise.all([
    account.firstSnapshotSince(accountLabel, dayStartMs(clock.nowMs())),
    account.newestSnapshot(accountLabel),
  ]);
  if (!first || !newest || limit === undefined || !config.TRADING_EMERGENCY_STOP_ENABLED) return [];
  const reason = dailyLossReason(first.equity, newest.equity, limit);
  return reason === undefined ? [] : [reason];
}

interface CancelPlan {
  id: string;
  steps: readonly string[];
  /** Client order ids. */
  orders: readonly string[];
}

async function planCancel(operator: Operator): Promise<CancelPlan> {
  const { accountLabel } = operator;
  const open = await operator.ledger.read.orders.openOrders(accountLabel);
  const orders = open.map((order) => order.clientOrderId).sort();
  return {
    id: planIdOf({ action: 'cancel_open', accountLabel, orders }),
    orders,
    steps: open.map(
      (order) => `cancel ${order.side} ${order.remainingQty.toFixed()} ${order.symbol} (${order.clientOrderId})`,
    ),
  };
}

/** Cancels every open order: by the running loop, which the kill switch makes do so, else as the leader itself. */
async function cancelOpen(
  operator: Operator,
  plan: CancelPlan,
  shown: readonly string[],
  options: ChangeOptions,
): Promise<Check[]> {
  const { accountLabel, control, ledger, clock } = operator;
  const isAgreed = await askConsent({
    what: `cancel ${plan.orders.length} open orders`,
    planId: plan.id,
    confirm: givenFor(plan.id, shown, options.confirm),
    yes: options.yes,
    dryRun: options.dryRun,
    isDestructive: true,
  });
  if (!isAgreed) return [];
  const leader = await control.leader(accountLabel);
  if (leader?.isLive) await untilNoneOpen(operator, options.timeoutMs);
  else {
    const held = await operator.holdDesk();
    try {
      await held.desk.recover();
      await held.desk.cancelOpenOrders('operator_stop', options.timeoutMs);
      await held.desk.reconcile();
    } finally {
      await held.close();
    }
  }
  const left = await ledger.orderRead.openCounts(accountLabel);
  const { reason, actor } = options;
  const after = toJsonb({ accountLabel, orders: plan.orders, left: left.open, unknown: left.unknownClaims });
  await control.audit({ action: 'cancel_open', reason, actor, atMs: clock.nowMs(), after });
  const value = `${left.open} open, ${left.unknownClaims} unknown`;
  const isNone = left.open + left.unknownClaims === 0;
  return [{ id: cancelCheckId, signal: 'no order is left', value, verdict: isNone ? 'ok' : 'problem' }];
}

async function untilNoneOpen({ ledger, accountLabel }: Operator, timeoutMs: number): Promise<void> {
  const until = machineMs() + timeoutMs;
  for (;;) {
    const counts = await ledger.orderRead.openCounts(accountLabel);
    if (counts.open + counts.unknownClaims === 0 || machineMs() >= until) return;
    await sleep(100);
  }
}

/** What the loop shows after the change. */
async function verify(action: ControlAction, operator: Operator, options: ChangeOptions): Promise<Check[]> {
  const leader = await operator.control.leader(operator.accountLabel);
  if (operator.daemonUrl === undefined) {
    const ids = verifyCheckIds(action);
    const signal = 'what the loop shows';
    if (leader?.isLive) {
      const value = `the loop runs elsewhere (${leader.owner}); name its address with --url`;
      return ids.map((id) => ({ id, signal, value, verdict: 'unknown' }));
    }
    // No loop decides or sends; but a resume without a loop has not begun anything either.
    const verdict = action === 'resume' ? 'unknown' : 'ok';
    return ids
      .filter((id) => id !== 'orders_open' && id !== 'reconcile_clean')
      .map((id) => ({ id, signal, value: 'no loop leads the account', verdict }));
  }
  return watchLoop(action, () => operator.readStatus(), { timeoutMs: options.timeoutMs });
}
