/**
 * Cancels (spec 4.3): a request and then the order's own word. Used by the drain, the kill switch and for late orders.
 * Guarantees: only orders of this ledger are touched, one by one, through the firewall; an order counts as cancelled when
 * its state says so, and a fill that wins the race is recorded as one.
 */
import type { ExecutionRow } from '../ledger/contract.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError } from '../service/errors.ts';
import { machineMs, sleep } from '../service/machine.ts';
import type { DeskContext } from './context.ts';
import type { CancelSummary } from './contract.ts';
import { recordOrder } from './order-book.ts';
import { noteFindings } from './settle.ts';
import { isWorking } from './state.ts';

/** Asks the broker for one order and records what it says. Returns the execution as it is then. */
async function refresh(context: DeskContext, execution: ExecutionRow): Promise<ExecutionRow> {
  const order = await context.broker.orderById(execution.brokerOrderId);
  if (!order) return execution;
  const result = await context.write((tx) =>
    recordOrder(
      tx,
      {
        accountLabel: context.settings.accountLabel,
        epoch: context.leadership.epoch,
        nowMs: context.clock.nowMs(),
        wasLookedUp: true,
      },
      order,
      [],
    ),
  );
  crashPoint('cancel.settled');
  if (result.kind === 'foreign') return execution;
  await noteFindings(context, result.findings);
  return result.execution;
}

/** Requests the cancel of one order. Returns false when the broker did not take the request (it may be final already). */
export async function requestCancel(context: DeskContext, execution: ExecutionRow, reason: string): Promise<boolean> {
  await context.firewall.reserve('cancel');
  const atMs = context.clock.nowMs();
  crashPoint('cancel.before');
  await context.write((tx) => tx.executions.markCancelRequested(execution.id, atMs));
  const reply = await context.firewall.cancel(execution.brokerOrderId);
  crashPoint('cancel.after');
  const about = { alpaca_order_id: execution.brokerOrderId, reason };
  if (reply.kind === 'ok') context.log.info(about, 'cancel requested');
  else context.log.warn({ ...about, why: reply.kind === 'refused' ? reply.message : reply.why }, 'cancel not taken');
  return reply.kind === 'ok';
}

/** Cancels all our working orders and waits for their final states. @param limitMs machine ms */
export async function cancelOpenOrders(context: DeskContext, reason: string, limitMs: number): Promise<CancelSummary> {
  const { accountLabel } = context.settings;
  const working = (await context.ledger.orderRead.executions.unsettled(accountLabel)).filter((execution) =>
    isWorking(execution.state, execution.timeInForce),
  );
  const until = machineMs() + limitMs;
  let requested = 0;
  for (const execution of working) {
    try {
      if (await requestCancel(context, execution, reason)) requested += 1;
    } catch (error) {
      if (!context.leadership.isHeld()) throw error;
      context.log.warn({ alpaca_order_id: execution.brokerOrderId, err: describeError(error) }, 'cancel failed');
    }
  }
  let waiting = working;
  for (let attempt = 0; waiting.length > 0; attempt++) {
    const still: ExecutionRow[] = [];
    for (const execution of waiting) {
      const now = await refresh(context, execution);
      if (isWorking(now.state, now.timeInForce)) still.push(now);
    }
    waiting = still;
    if (waiting.length === 0 || machineMs() >= until) break;
    await sleep(Math.min(1_000, 50 * 2 ** attempt));
  }
  return {
    requested,
    confirmed: working.length - waiting.length,
    stillOpen: waiting.map((execution) => execution.clientOrderId),
  };
}

/** Machine ms between two requests for the same late order. */
const LATE_RETRY_MS = 5_000;

/** Cancels orders that appeared after their decision had been refused (design 5). */
export function createLateCanceller(context: DeskContext): () => Promise<number> {
  const askedAt = new Map<string, number>();
  return async () => {
    const unsettled = await context.ledger.orderRead.executions.unsettled(context.settings.accountLabel);
    let asked = 0;
    for (const execution of unsettled) {
      if (!execution.isLateAccepted || !isWorking(execution.state, execution.timeInForce)) continue;
      const last = askedAt.get(execution.id);
      if (last !== undefined && machineMs() - last < LATE_RETRY_MS) continue;
      askedAt.set(execution.id, machineMs());
      await requestCancel(context, execution, 'late_accepted');
      await refresh(context, execution);
      asked += 1;
    }
    return asked;
  };
}
