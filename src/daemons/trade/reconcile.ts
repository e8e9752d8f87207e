/**
 * `torghut trade reconcile` from plan to second pass (spec 10.4): by the running daemon, or leading the account itself.
 * Guarantees: reading only until the plan is agreed to; no order is sent by this process; every run that was agreed to
 * leaves an audit event with its result.
 */
import { toJsonb } from '../../lib/ledger/jsonb.ts';
import { classifyOrders } from '../../lib/orders/classify.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import type { Report } from '../../lib/runbook/report.ts';
import {
  type PassReport,
  planReconcile,
  type ReconcileResult,
  reconcileChecks,
  reconcileUntilQuiet,
} from '../../lib/runbook/trade-reconcile.ts';
import { exitCode } from '../../lib/service/errors.ts';
import { askReconcile, bearerOf } from './client.ts';
import type { ChangeOptions, Outcome } from './operate.ts';
import type { Operator } from './operator.ts';

export interface ReconcileOptions extends Omit<ChangeOptions, 'wait' | 'cancelOpen' | 'flatten'> {
  /** Market ms; undefined: since the last pass without an error. */
  sinceMs: number | undefined;
}

/** Differences shown line by line; the others are in the report. */
const SHOWN = 20;

export async function reconcileAccount(operator: Operator, options: ReconcileOptions): Promise<Outcome> {
  const { accountLabel, ledger, control, clock } = operator;
  const context = { accountLabel, ledger, broker: operator.broker() };
  const classified = await classifyOrders(context, clock.nowMs(), options.sinceMs);
  const plan = planReconcile(accountLabel, classified);
  for (const { class: kind, subject, ledger: mine, broker, action } of plan.differences.slice(0, SHOWN)) {
    options.tell(`plan ${plan.id}: ${kind} ${subject}: ledger ${mine}, broker ${broker}: ${action}`);
  }
  if (plan.differences.length === 0) options.tell(`plan ${plan.id}: nothing differs; two passes show it`);
  const consent = {
    what: `reconcile ${accountLabel}: ${plan.differences.length} differences`,
    planId: plan.id,
    // Recording what the broker says destroys nothing.
    isDestructive: false,
    confirm: options.confirm[0],
    yes: options.yes,
    dryRun: options.dryRun,
  };
  const result = (await askConsent(consent)) ? await apply(operator, options) : undefined;
  const controls = await ledger.read.account.controls(accountLabel);
  const checks = reconcileChecks(result, controls.paused || controls.killSwitch);
  if (result) {
    const { reason, actor } = options;
    const after = toJsonb({
      accountLabel,
      planId: plan.id,
      agreed: result.isAgreed,
      passes: result.passes.map(withoutFindings),
    });
    await control.audit({ action: 'reconcile', reason, actor, atMs: clock.nowMs(), after });
  }
  const report: Report = {
    action: 'reconcile',
    account_label: accountLabel,
    plan_id: plan.id,
    applied: result !== undefined,
    by: operator.daemonUrl === undefined ? 'this command' : 'the running loop',
    agreed: result?.isAgreed ?? null,
    ...plan.counts,
    changes: result?.passes.map((pass) => pass.changes).join(' ') ?? null,
    differences: plan.differences.map((difference) => ({ ...difference })),
    checks,
  };
  const isWell = result ? result.isAgreed : plan.differences.length === 0;
  return { report, exitCode: isWell ? exitCode.ok : exitCode.problemFound };
}

async function apply(operator: Operator, options: ReconcileOptions): Promise<ReconcileResult> {
  const { daemonUrl, config, home } = operator;
  const limitMs = options.timeoutMs + config.TRADING_SUBMIT_LOOKUP_SECONDS * 1_000;
  if (daemonUrl !== undefined) {
    return reconcileUntilQuiet(() => askReconcile(daemonUrl, options.sinceMs, bearerOf(home, daemonUrl)), limitMs);
  }
  const held = await operator.holdDesk();
  try {
    await held.desk.recover();
    return await reconcileUntilQuiet(() => held.desk.reconcile(options.sinceMs), limitMs);
  } finally {
    await held.close();
  }
}

const withoutFindings = ({ findings, ...pass }: PassReport): Record<string, unknown> => ({
  changes: pass.changes,
  orders_seen: pass.ordersSeen,
  fills_added: pass.fillsAdded,
  states_changed: pass.statesChanged,
  claims_resolved: pass.claimsResolved,
  adopted: pass.adopted,
  unknown_claims: pass.unknownClaims,
  findings: findings.length,
});
