/**
 * The broker's orders against the ledger, read-only: what a reconcile pass would change, and what it can only report
 * (spec 10.4). It begins where the pass begins (`listStartMs`), and asks one by one for what the list does not show.
 */
import type { ClaimRow } from '../ledger/claims.ts';
import type { ExecutionRow } from '../ledger/contract.ts';
import { earliestSubmission } from '../ledger/executions.ts';
import { listOrders } from './broker-lists.ts';
import { isOurClientOrderId } from './client-order-id.ts';
import type { DeskContext } from './context.ts';
import { DAY_MS, FIRST_PASS_MS, isUpToDate } from './reconcile.ts';

/** In the order in which they are shown. */
export const orderClasses = [
  'missing_local',
  'status_drift',
  'missing_broker',
  'foreign',
  'position_drift',
  'matched',
] as const;
export type OrderClass = (typeof orderClasses)[number];

export interface ClassifiedOrder {
  class: OrderClass;
  /** Order id, client order id, or symbol of a position. */
  subject: string;
  symbol: string;
  /** What the ledger holds and what the broker says, in words. */
  ledger: string;
  broker: string;
  /** What a pass does about it. */
  action: string;
}

export type ClassifyContext = Pick<DeskContext, 'broker' | 'ledger'> & { accountLabel: string };

/**
 * Every order of the broker since a day before `sinceMs` or the oldest thing that is open, every open claim, every position.
 * @param sinceMs market ms; undefined: since the last pass without an error
 */
export async function classifyOrders(
  context: ClassifyContext,
  nowMs: number,
  sinceMs: number | undefined,
): Promise<ClassifiedOrder[]> {
  const { accountLabel, ledger, broker } = context;
  const unsettled = await ledger.orderRead.executions.unsettled(accountLabel);
  const claims = await ledger.orderRead.claims.open(accountLabel);
  const lastPass = await ledger.orderRead.findings.lastPassAtMs(accountLabel);
  const startMs =
    Math.min(
      earliestSubmission(unsettled) ?? nowMs,
      ...claims.map((claim) => claim.claimedAtMs),
      lastPass ?? nowMs - FIRST_PASS_MS + DAY_MS,
      sinceMs ?? nowMs,
    ) - DAY_MS;
  const orders = await listOrders({ broker }, startMs);
  const known = await ledger.orderRead.executions.byIds(
    accountLabel,
    orders.map((order) => order.id),
  );
  const found: ClassifiedOrder[] = [];
  const byClientId = new Map(claims.map((claim) => [claim.clientOrderId, claim]));
  for (const order of orders) {
    const execution = known.get(order.id);
    const theirs = `${order.status}, filled ${order.filledQty.toFixed()}`;
    const about = { subject: order.id, symbol: order.symbol, broker: theirs };
    const claim = byClientId.get(order.clientOrderId);
    if (execution) {
      const mine = describeExecution(execution);
      if (isUpToDate(execution, order)) found.push({ ...about, class: 'matched', ledger: mine, action: 'none' });
      else found.push({ ...about, class: 'status_drift', ledger: mine, action: "record the broker's state and fills" });
    } else if (claim) {
      found.push({ ...about, class: 'missing_local', ledger: `claim ${claim.state}`, action: 'settle the claim' });
    } else if (isOurClientOrderId(order.clientOrderId) || order.replaces !== undefined) {
      found.push({ ...about, class: 'missing_local', ledger: 'nothing', action: 'record the order and its fills' });
    } else {
      found.push({ ...about, class: 'foreign', ledger: 'nothing', action: 'report; foreign orders stay as they are' });
    }
  }
  const listed = new Set(orders.map((order) => order.id));
  for (const execution of unsettled) {
    if (!listed.has(execution.brokerOrderId)) found.push(await lookAt(context, execution));
  }
  const listedClients = new Set(orders.map((order) => order.clientOrderId));
  for (const claim of claims) {
    if (!listedClients.has(claim.clientOrderId)) found.push(await lookFor(context, claim));
  }
  found.push(...(await positionDifferences(context)));
  return found.sort((a, b) => orderClasses.indexOf(a.class) - orderClasses.indexOf(b.class));
}

const describeExecution = (execution: ExecutionRow): string =>
  `${execution.brokerStatus}, filled ${execution.filledQty.toFixed()}`;

/** An order that the ledger holds open and the list does not show. */
async function lookAt({ broker }: ClassifyContext, execution: ExecutionRow): Promise<ClassifiedOrder> {
  const order = await broker.orderById(execution.brokerOrderId);
  const about = { subject: execution.brokerOrderId, symbol: execution.symbol, ledger: describeExecution(execution) };
  if (!order) return { ...about, class: 'missing_broker', broker: 'not there', action: 'report; look at the broker' };
  const theirs = `${order.status}, filled ${order.filledQty.toFixed()}`;
  if (isUpToDate(execution, order)) return { ...about, class: 'matched', broker: theirs, action: 'none' };
  return { ...about, class: 'status_drift', broker: theirs, action: "record the broker's state and fills" };
}

/** A claim without an answer whose order the list does not show. */
async function lookFor({ broker }: ClassifyContext, claim: ClaimRow): Promise<ClassifiedOrder> {
  const order = await broker.orderByClientId(claim.clientOrderId);
  const about = { subject: claim.clientOrderId, symbol: claim.terms.symbol, ledger: `claim ${claim.state}` };
  if (order) {
    const theirs = `${order.status}, filled ${order.filledQty.toFixed()}`;
    return { ...about, class: 'missing_local', broker: theirs, action: 'settle the claim' };
  }
  // A claim that never began its POST was never sent; the other kind is looked for until its deadline.
  const action =
    claim.state === 'claimed'
      ? 'send it while fresh and trading is not held, else refuse it'
      : 'look it up until its deadline, then refuse it as submit_unconfirmed_expired';
  return { ...about, class: 'missing_broker', broker: 'not there', action };
}

/** Positions of the broker against the sums of the recorded fills. */
export async function positionDifferences({
  broker,
  ledger,
  accountLabel,
}: ClassifyContext): Promise<ClassifiedOrder[]> {
  const theirs = new Map((await broker.positions()).map((held) => [held.symbol, held.quantity]));
  const mine = new Map((await ledger.read.orders.positions(accountLabel)).map((held) => [held.symbol, held.quantity]));
  const found: ClassifiedOrder[] = [];
  for (const symbol of [...new Set([...theirs.keys(), ...mine.keys()])].sort()) {
    const atBroker = theirs.get(symbol)?.toFixed() ?? '0';
    const inLedger = mine.get(symbol)?.toFixed() ?? '0';
    if (atBroker === inLedger) continue;
    found.push({
      class: 'position_drift',
      subject: symbol,
      symbol,
      ledger: inLedger,
      broker: atBroker,
      action: 'closes when the missing fills are recorded; else report',
    });
  }
  return found;
}
