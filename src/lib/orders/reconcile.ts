/**
 * Reconcile (spec 4.6): the broker's list of orders, its fills and positions against the ledger.
 * Guarantees: one list per pass instead of a request per order; every order with our prefix is in the ledger after it, every
 * fill of it too; nothing goes back (order-book.ts); a second pass without news changes nothing. What cannot be made equal
 * is a finding: orphan, foreign, drift, missing.
 */
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import type { ExecutionRow } from '../ledger/contract.ts';
import { earliestSubmission } from '../ledger/executions.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import { listFills, listOrders } from './broker-lists.ts';
import { isOurClientOrderId } from './client-order-id.ts';
import type { DeskContext } from './context.ts';
import type { Finding, ReconcileSummary } from './contract.ts';
import { type FillReport, recordOrder } from './order-book.ts';
import { noteFindings } from './settle.ts';
import { resolveClaims } from './submit.ts';
import { isUnstorable, unstorable } from './unstorable.ts';

export const DAY_MS = 86_400_000;
/** How far back the first pass of a ledger looks (spec 4.6: backfill of 7 days). */
export const FIRST_PASS_MS = 7 * DAY_MS;
/** Kinds that a pass decides anew; the others stay until an operator has looked. */
const passKinds = [
  'foreign_order',
  'position_drift',
  'fills_missing',
  'missing_at_broker',
  'unknown_status',
  'unstorable_order',
] as const;

/** Does the ledger hold what the broker says of this order, fills included? */
export function isUpToDate(execution: ExecutionRow, order: BrokerOrder): boolean {
  const updatedMs = order.updatedNs === undefined ? undefined : Number(order.updatedNs / 1_000_000n);
  return (
    execution.brokerStatus === order.status &&
    execution.brokerFilledQty.eq(order.filledQty) &&
    execution.filledQty.eq(order.filledQty) &&
    execution.brokerUpdatedAtMs === updatedMs
  );
}

export interface Reconciler {
  /** One pass. @throws broker and ledger errors; what was already written stays, each order in its own transaction */
  pass(sinceMs?: number): Promise<ReconcileSummary>;
}

export function createReconciler(context: DeskContext): Reconciler {
  const { accountLabel } = context.settings;
  /** Differences seen by the last pass: the broker's positions may be ahead of its orders by seconds (alpaca-protocol 2). */
  let suspected = new Map<string, string>();

  const positionDrift = async (): Promise<{ findings: Finding[]; newSuspicions: number }> => {
    const broker = new Map((await context.broker.positions()).map((held) => [held.symbol, held.quantity]));
    const ledger = new Map(
      (await context.ledger.read.orders.positions(accountLabel)).map((held) => [held.symbol, held.quantity]),
    );
    const seen = new Map<string, string>();
    for (const symbol of new Set([...broker.keys(), ...ledger.keys()])) {
      const atBroker = broker.get(symbol)?.toFixed() ?? '0';
      const inLedger = ledger.get(symbol)?.toFixed() ?? '0';
      if (atBroker !== inLedger) seen.set(symbol, `${inLedger} ${atBroker}`);
    }
    const findings: Finding[] = [];
    let newSuspicions = 0;
    for (const [symbol, difference] of seen) {
      if (suspected.get(symbol) !== difference) {
        newSuspicions += 1;
        continue;
      }
      const [inLedger, atBroker] = difference.split(' ');
      findings.push({
        kind: 'position_drift',
        subject: symbol,
        isPaging: true,
        detail: { ledger_qty: inLedger, broker_qty: atBroker },
      });
    }
    suspected = seen;
    return { findings, newSuspicions };
  };

  const pass = async (sinceMs: number | undefined): Promise<ReconcileSummary> => {
    const nowMs = context.clock.nowMs();
    const unsettled = await context.ledger.orderRead.executions.unsettled(accountLabel);
    const claims = await context.ledger.orderRead.claims.open(accountLabel);
    const lastPass = await context.ledger.orderRead.findings.lastPassAtMs(accountLabel);
    const oldest = Math.min(
      earliestSubmission(unsettled) ?? nowMs,
      ...claims.map((claim) => claim.claimedAtMs),
      lastPass ?? nowMs - FIRST_PASS_MS + DAY_MS,
      sinceMs ?? nowMs,
    );
    const orders = await listOrders(context, oldest - DAY_MS);
    crashPoint('reconcile.listed');

    const known = await context.ledger.orderRead.executions.byIds(
      accountLabel,
      orders.map((order) => order.id),
    );
    const listed = new Set(orders.map((order) => order.id));
    const findings: Finding[] = [];
    // What the ledger holds open and the list does not show is asked for one by one.
    for (const execution of unsettled) {
      if (listed.has(execution.brokerOrderId)) continue;
      const order = await context.broker.orderById(execution.brokerOrderId);
      if (order) {
        orders.push(order);
        known.set(order.id, execution);
      } else {
        findings.push({
          kind: 'missing_at_broker',
          subject: execution.brokerOrderId,
          isPaging: true,
          detail: { client_order_id: execution.clientOrderId, ledger_state: execution.state },
        });
      }
    }

    const stale = orders.filter((order) => {
      const execution = known.get(order.id);
      if (execution) return !isUpToDate(execution, order);
      if (isOurClientOrderId(order.clientOrderId) || order.replaces !== undefined) return true;
      findings.push(foreign(order));
      return false;
    });
    const lackFills = stale.filter((order) => order.filledQty.gt(known.get(order.id)?.filledQty ?? 0));
    const fillsSince = Math.min(...lackFills.map((order) => Number((order.submittedNs ?? 0n) / 1_000_000n) - 1_000));
    const fills =
      lackFills.length > 0
        ? await listFills(context, fillsSince, new Set(lackFills.map((order) => order.id)))
        : new Map<string, FillReport[]>();
    crashPoint('reconcile.fills_listed');

    let fillsAdded = 0;
    let statesChanged = 0;
    let adopted = 0;
    let claimsResolved = 0;
    let fillsMissing = 0;
    for (const order of stale) {
      crashPoint('reconcile.order_before');
      const result = await context
        .write((tx) => {
          const { epoch } = context.leadership;
          const book = { accountLabel, epoch, nowMs: context.clock.nowMs(), wasLookedUp: true };
          return recordOrder(tx, book, order, fills.get(order.id) ?? []);
        })
        .catch((error: unknown) => {
          if (!isUnstorable(error)) throw error;
          findings.push(unstorable(order, describeError(error)));
          return undefined;
        });
      crashPoint('reconcile.order_applied');
      // One order that cannot be kept must not hide the others.
      if (result === undefined) continue;
      if (result.kind === 'foreign') {
        findings.push(foreign(order));
        continue;
      }
      fillsAdded += result.fillsAdded;
      if (result.isNew) adopted += 1;
      else if (result.stateChanged) statesChanged += 1;
      if (result.claimSettled) {
        claimsResolved += 1;
        context.counters.submitted += 1;
      }
      const passing = result.findings.filter((finding) => (passKinds as readonly string[]).includes(finding.kind));
      findings.push(...passing);
      await noteFindings(
        context,
        result.findings.filter((finding) => !passing.includes(finding)),
      );
      const { execution } = result;
      if (execution.filledQty.lt(execution.brokerFilledQty)) {
        fillsMissing += 1;
        findings.push({
          kind: 'fills_missing',
          subject: order.id,
          isPaging: false,
          detail: { recorded: execution.filledQty.toFixed(), broker: execution.brokerFilledQty.toFixed() },
        });
      }
    }

    const resolved = await resolveClaims(context);
    claimsResolved += resolved.adopted + resolved.rejected;
    const drift = await positionDrift();
    findings.push(...drift.findings);
    const counts = await context.ledger.orderRead.openCounts(accountLabel);
    const written = statesChanged + adopted + fillsAdded + claimsResolved + resolved.posted;
    const summary = await context.write(async (tx) => {
      const findingChanges = await tx.findings.replace(accountLabel, passKinds, findings, nowMs);
      const open = await tx.findings.open(accountLabel);
      const pass: ReconcileSummary = {
        changes: written + findingChanges + fillsMissing + drift.newSuspicions,
        ordersSeen: orders.length,
        fillsAdded,
        statesChanged,
        claimsResolved,
        adopted,
        unknownClaims: counts.unknownClaims,
        openOrders: counts.open,
        findings: open.map((finding) => ({
          kind: finding.kind as Finding['kind'],
          subject: finding.subject,
          isPaging: finding.isPaging,
          detail: (finding.detail ?? {}) as Record<string, unknown>,
        })),
        atMs: nowMs,
      };
      const { epoch } = context.leadership;
      await tx.findings.recordPass(accountLabel, {
        atMs: nowMs,
        changes: pass.changes,
        epoch,
        summary: toJsonb(withoutFindings(pass)),
      });
      return pass;
    });
    crashPoint('reconcile.done');
    context.counters.reconcilePasses += 1;
    context.counters.reconcileChanges += written;
    context.flags.isBrokerAuthLatched = false;
    return summary;
  };

  return {
    pass: async (sinceMs) => {
      try {
        return await pass(sinceMs);
      } catch (error) {
        if (error instanceof TorghutError && error.code === 'broker_auth') context.flags.isBrokerAuthLatched = true;
        const atMs = context.clock.nowMs();
        const { epoch } = context.leadership;
        await context
          .write((tx) =>
            tx.findings.recordPass(accountLabel, {
              atMs,
              changes: 0,
              epoch,
              summary: toJsonb({}),
              error: describeError(error),
            }),
          )
          .catch(() => undefined);
        throw error;
      }
    },
  };
}

function foreign(order: BrokerOrder): Finding {
  return {
    kind: 'foreign_order',
    subject: order.id,
    isPaging: false,
    detail: { client_order_id: order.clientOrderId, symbol: order.symbol, status: order.status },
  };
}

function withoutFindings(summary: ReconcileSummary): Record<string, unknown> {
  const { findings, ...rest } = summary;
  return { ...rest, findings: findings.length };
}
