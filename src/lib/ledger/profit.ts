/**
 * Realised profit by average cost, per strategy and symbol, and the equity over a stretch of time (spec trading 7, `/trading/pnl`).
 * Pure but for the two reads; decimals throughout. Fees are not part of a fill and so not of this.
 */
import { Decimal } from 'decimal.js';
import type { LedgerDb } from './tables.ts';
import { decimalOf, timeOf } from './values.ts';

export interface StrategyFill {
  /** null for an order without a decision of this ledger. */
  strategy: string | null;
  symbol: string;
  side: 'buy' | 'sell';
  quantity: Decimal;
  price: Decimal;
  /** Market ms. */
  atMs: number;
}

export interface Profit {
  strategy: string | null;
  symbol: string;
  fills: number;
  bought: Decimal;
  sold: Decimal;
  /** Of what was closed within the stretch, US dollars. */
  realized: Decimal;
  /** Held at its end; negative is short. */
  quantity: Decimal;
  averageEntryPrice: Decimal | undefined;
}

export interface EquityOver {
  first: { equity: Decimal; atMs: number } | undefined;
  last: { equity: Decimal; atMs: number } | undefined;
}

export interface ProfitReads {
  /** Every fill of the account before an instant, in the order of execution. */
  fillsBefore(accountLabel: string, untilMs: number): Promise<StrategyFill[]>;
  /** First and last account snapshot within [fromMs, toMs). */
  equityOver(accountLabel: string, fromMs: number, toMs: number): Promise<EquityOver>;
}

/** @param fills all fills before `toMs`, in order; what happened before `fromMs` makes the positions that the stretch begins with */
export function profitOver(fills: Iterable<StrategyFill>, fromMs: number, toMs: number): Profit[] {
  const books = new Map<string, Profit & { cost: Decimal }>();
  const zero = new Decimal(0);
  for (const fill of fills) {
    if (fill.atMs >= toMs) continue;
    const key = `${fill.strategy ?? ''}\u001f${fill.symbol}`;
    const book = books.get(key) ?? {
      strategy: fill.strategy, symbol: fill.symbol, fills: 0, bought: zero, sold: zero, realized: zero, quantity: zero,
      averageEntryPrice: undefined, cost: zero,
    }; // biome-ignore format: one object
    books.set(key, book);
    const isBuy = fill.side === 'buy';
    const isWithin = fill.atMs >= fromMs;
    if (isWithin) {
      book.fills += 1;
      if (isBuy) book.bought = book.bought.plus(fill.quantity);
      else book.sold = book.sold.plus(fill.quantity);
    }
    // What lowers the position realises against its average; the rest opens, also across zero.
    const closes =
      book.quantity.isZero() || book.quantity.isPositive() === isBuy
        ? zero
        : Decimal.min(book.quantity.abs(), fill.quantity);
    if (closes.gt(0)) {
      const average = book.cost.div(book.quantity.abs());
      const gain = (isBuy ? average.minus(fill.price) : fill.price.minus(average)).times(closes);
      if (isWithin) book.realized = book.realized.plus(gain);
      book.cost = book.cost.minus(average.times(closes));
    }
    const opens = fill.quantity.minus(closes);
    book.cost = book.cost.plus(opens.times(fill.price));
    book.quantity = book.quantity.plus(isBuy ? fill.quantity : fill.quantity.neg());
    if (book.quantity.isZero()) book.cost = zero;
    book.averageEntryPrice = book.quantity.isZero() ? undefined : book.cost.div(book.quantity.abs());
  }
  return [...books.values()]
    .filter((book) => book.fills > 0 || !book.quantity.isZero())
    .map(({ cost: _cost, ...profit }) => profit)
    .sort((a, b) => order(a.strategy ?? '', b.strategy ?? '') || order(a.symbol, b.symbol));
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function profitReads(db: LedgerDb): ProfitReads {
  const snapshotOf = async (accountLabel: string, fromMs: number, toMs: number, direction: 'asc' | 'desc') => {
    const row = await db
      .selectFrom('position_snapshots')
      .select(['equity', 'as_of'])
      .where('alpaca_account_label', '=', accountLabel)
      .where('as_of', '>=', timeOf(fromMs))
      .where('as_of', '<', timeOf(toMs))
      .orderBy('as_of', direction)
      .limit(1)
      .executeTakeFirst();
    return row && { equity: decimalOf(row.equity), atMs: row.as_of.getTime() };
  };
  return {
    fillsBefore: async (accountLabel, untilMs) => {
      const rows = await db
        .selectFrom('execution_fills as f')
        .innerJoin('executions as e', 'e.id', 'f.execution_id')
        .leftJoin('trade_decisions as d', 'd.id', 'e.trade_decision_id')
        .select(['d.strategy_name', 'f.symbol', 'f.side', 'f.qty', 'f.price', 'f.executed_at'])
        .where('f.alpaca_account_label', '=', accountLabel)
        .where('f.executed_at', '<', timeOf(untilMs))
        .orderBy('f.executed_at')
        .orderBy('f.execution_id')
        .orderBy('f.cumulative_qty')
        .execute();
      return rows.map((row) => ({
        strategy: row.strategy_name,
        symbol: row.symbol,
        side: row.side,
        quantity: decimalOf(row.qty),
        price: decimalOf(row.price),
        atMs: row.executed_at.getTime(),
      }));
    },
    equityOver: async (accountLabel, fromMs, toMs) => ({
      first: await snapshotOf(accountLabel, fromMs, toMs, 'asc'),
      last: await snapshotOf(accountLabel, fromMs, toMs, 'desc'),
    }),
  };
}
