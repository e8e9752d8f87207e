/**
 * From wishes to decisions: intent by the position met, size by budgets, identity by design 5.
 * Guarantee: pure but for the ids; the identity of a decision depends on nothing that sizing or prices may change.
 */
import { randomUUID } from 'node:crypto';
import type { Decimal } from 'decimal.js';
import { fitsNumeric } from '../ledger/values.ts';
import type { Decision } from '../risk/order.ts';
import { reduces } from '../risk/projection.ts';
import { quantityStep, type Sizing, sizeOrder } from '../risk/sizing.ts';
import type { PriceView } from '../risk/snapshot.ts';
import type { StrategyWish } from '../strategy/evaluate.ts';
import { timeframeOf } from '../strategy/signal.ts';
import { type Book, positionOf } from './book.ts';
import { decisionHash } from './identity.ts';
import type { SignalRow } from './ports.ts';
import { limitsFor, type TradingSettings } from './settings.ts';

export interface DecisionContext {
  settings: TradingSettings;
  book: Book;
  prices: ReadonlyMap<string, PriceView>;
  /** Ledger ids of the strategies by name. */
  strategyIds: ReadonlyMap<string, string>;
}

export interface MadeDecision {
  decision: Decision;
  wish: StrategyWish;
  row: SignalRow;
  sizing: Sizing;
  /** What it was made from, stored with it. */
  detail: Record<string, unknown>;
}

/** The wish would only lower a position, and there is none that it could lower (spec trading 10.7: exits never open). */
export function hasNothingToReduce(symbol: string, { intent }: StrategyWish, book: Book): boolean {
  if (intent.reduceOnly !== true) return false;
  const position = positionOf(book, symbol);
  return position === undefined || !reduces(intent.action, position);
}

export function makeDecision(row: SignalRow, wish: StrategyWish, context: DecisionContext): MadeDecision {
  const { settings, book, prices, strategyIds } = context;
  const { entry, intent: wanted } = wish;
  const { symbol } = row;
  const position = positionOf(book, symbol);
  const isExit = position !== undefined && reduces(wanted.action, position);
  const price = prices.get(symbol);
  const sizing = size(wish, symbol, price?.price, isExit ? position.abs() : undefined, context);
  const timeframe = timeframeOf(row.windowSize);
  const intent = isExit ? ('exit' as const) : ('entry' as const);
  const { accountLabel, runId } = settings;
  const strategyId = strategyIds.get(entry.name);
  if (strategyId === undefined) throw new Error(`strategy ${entry.name} has no row in the ledger`);
  const decision: Decision = {
    id: randomUUID(),
    accountLabel,
    strategyId,
    strategyName: entry.name,
    symbol,
    timeframe,
    eventTsMs: row.eventTsMs,
    action: wanted.action,
    intent,
    quantity: sizing.quantity,
    orderType: wanted.orderType,
    timeInForce: wanted.timeInForce,
    ...(wanted.limitPrice === undefined ? {} : { limitPrice: wanted.limitPrice }),
    ...(wanted.stopPrice === undefined ? {} : { stopPrice: wanted.stopPrice }),
    ...(price === undefined ? {} : { price: price.price, priceAsOfMs: price.asOfMs }),
    rationale: wanted.rationale,
    signal: {
      runId,
      symbol,
      windowSize: row.windowSize,
      eventTsMs: row.eventTsMs,
      revision: row.revision,
      sourcePartition: row.partition,
      sourceOffset: row.offset,
    },
    hash: decisionHash({
      accountLabel,
      strategyName: entry.name,
      symbol,
      timeframe,
      eventTsMs: row.eventTsMs,
      action: wanted.action,
      intent,
    }),
  };
  demandStorable(decision);
  const detail = {
    features: row.features,
    macd: row.macd,
    macd_signal: row.macdSignal,
    rsi14: row.rsi14,
    confidence: wanted.confidence,
    strategy: { id: entry.strategyId, type: entry.type, version: entry.version, params: entry.params },
    price_snapshot: price === undefined ? null : { price: price.price, as_of: new Date(price.asOfMs) },
    sizing,
    position: position ?? null,
  };
  return { decision, wish, row, sizing, detail };
}

/** @throws RangeError when a number of the decision is beyond the ledger's columns: a mad quantity, a mad price */
function demandStorable({ quantity, limitPrice, stopPrice, price }: Decision): void {
  for (const [name, value] of Object.entries({ quantity, limitPrice, stopPrice, price })) {
    if (value !== undefined && !fitsNumeric(value))
      throw new RangeError(`${name} ${value.toString()} is beyond the ledger`);
  }
}

/** A close without a named quantity closes everything; everything else is sized by the budgets. */
function size(
  wish: StrategyWish,
  symbol: string,
  price: Decimal | undefined,
  held: Decimal | undefined,
  { settings, book }: DecisionContext,
): Sizing {
  if (held !== undefined && wish.intent.quantity === undefined) return { quantity: held, source: 'position' };
  const limits = limitsFor(settings, wish.entry);
  return sizeOrder({
    wanted: wish.intent.quantity,
    price,
    maxNotional: limits.maxNotionalPerTrade,
    maxPositionPct: limits.maxPositionPctEquity,
    equity: book.account?.equity,
    defaultQuantity: settings.defaultQuantity,
    mode: settings.mode,
    step: quantityStep(symbol, settings.allowFractional),
  });
}
