/**
 * The broker's lists as a reconcile pass reads them: all orders since an instant, and the fills of some of them.
 * Guarantee: paging loses nothing at a page's edge, also where several orders carry the same submission time.
 */
import type { BrokerOrder, FillActivity } from '../alpaca/trading-schema.ts';
import { formatTimestampNs } from '../market/time.ts';
import { TorghutError } from '../service/errors.ts';
import type { DeskContext } from './context.ts';
import type { FillReport } from './order-book.ts';

const PAGE = 500;
const FILL_PAGE = 100;

const timestampOfMs = (ms: number) => formatTimestampNs(BigInt(Math.floor(ms)) * 1_000_000n);

/** All orders submitted after an instant, page by page, each once. @throws `reconcile_page_stuck` */
export async function listOrders(context: Pick<DeskContext, 'broker'>, afterMs: number): Promise<BrokerOrder[]> {
  const found = new Map<string, BrokerOrder>();
  let afterNs = BigInt(Math.floor(afterMs)) * 1_000_000n;
  for (;;) {
    const page = await context.broker.orders({
      status: 'all',
      after: formatTimestampNs(afterNs),
      direction: 'asc',
      limit: PAGE,
    });
    const before = found.size;
    for (const order of page) found.set(order.id, order);
    if (page.length < PAGE) return [...found.values()];
    const lastNs = page.at(-1)?.submittedNs;
    // `after` is exclusive: step back a nanosecond, or orders of the same instant on the next page would be lost.
    const nextNs = lastNs === undefined ? afterNs : lastNs - 1n;
    if (found.size === before || nextNs <= afterNs) {
      throw new TorghutError({
        code: 'reconcile_page_stuck',
        what: 'the list of orders does not end',
        why: `over ${PAGE} orders carry the same submission time`,
        next: 'look at the orders of that instant at the broker',
      });
    }
    afterNs = nextNs;
  }
}

/** Fills of some orders since an instant, by order id, with the cumulative quantity of each. */
export async function listFills(
  context: Pick<DeskContext, 'broker'>,
  sinceMs: number,
  wanted: ReadonlySet<string>,
): Promise<Map<string, FillReport[]>> {
  const byOrder = new Map<string, FillActivity[]>();
  let pageToken: string | undefined;
  for (;;) {
    const page = await context.broker.fillActivities({
      after: timestampOfMs(sinceMs),
      pageSize: FILL_PAGE,
      ...(pageToken === undefined ? {} : { pageToken }),
    });
    for (const activity of page) {
      if (!wanted.has(activity.orderId)) continue;
      const list = byOrder.get(activity.orderId) ?? [];
      list.push(activity);
      byOrder.set(activity.orderId, list);
    }
    const last = page.at(-1)?.id;
    if (page.length < FILL_PAGE || last === undefined || last === pageToken) break;
    pageToken = last;
  }
  const reports = new Map<string, FillReport[]>();
  for (const [orderId, activities] of byOrder) reports.set(orderId, fillReports(activities));
  return reports;
}

/** Activities of one order as fills; a missing cumulative quantity is the running sum. */
export function fillReports(activities: readonly FillActivity[]): FillReport[] {
  const ordered = [...activities].sort((a, b) => {
    if (a.cumulativeQty && b.cumulativeQty) return a.cumulativeQty.cmp(b.cumulativeQty);
    if (a.transactionNs !== b.transactionNs) return a.transactionNs < b.transactionNs ? -1 : 1;
    return a.id < b.id ? -1 : 1;
  });
  let sum: FillActivity['quantity'] | undefined;
  return ordered.map((activity) => {
    sum = sum === undefined ? activity.quantity : sum.plus(activity.quantity);
    return {
      brokerExecutionId: activity.executionId,
      quantity: activity.quantity,
      price: activity.price,
      cumulativeQty: activity.cumulativeQty ?? sum,
      atMs: Number(activity.transactionNs / 1_000_000n),
      source: 'activity' as const,
    };
  });
}
