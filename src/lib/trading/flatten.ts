/**
 * Closing every position of an account: an operator's `stop --flatten`, an account stop, the end of a live session (spec
 * trading 3.3, 10.2). One step per cycle until nothing of the plan is held.
 * Guarantees: reduce-only orders alone (lib/risk/reduction.ts), no strategy and no reviewer; what pending orders have reserved
 * is not sent twice, so a crash in the middle closes nothing too much; it ends: done, out of time, or with the release of
 * the stop that it belongs to.
 */
import { randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import type { Leadership, Ledger } from '../ledger/contract.ts';
import type { FlattenEnd, FlattenRequest, FlattenTarget } from '../ledger/flatten.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { OrderDesk } from '../orders/contract.ts';
import type { Decision } from '../risk/order.ts';
import { pendingQuantity, reduces } from '../risk/projection.ts';
import { evaluateReduction } from '../risk/reduction.ts';
import type { PriceView } from '../risk/snapshot.ts';
import type { Clock } from '../service/clock.ts';
import type { Logger } from '../service/logging.ts';
import { type Book, positionOf, readBook } from './book.ts';
import { decisionHash } from './identity.ts';
import type { BrokerView } from './ports.ts';
import type { SessionState } from './session.ts';

/** Name of the strategy row that decisions of a flatten point at. */
export const flattenStrategy = 'operator.flatten';
/** Market ms for which a request is worked off. */
export const FLATTEN_LIFE_MS = 900_000;
/** Orders that may be refused for one symbol before it is left to a person. */
const MAX_REFUSALS = 5;
/** Market ms after a refusal. */
const AFTER_REFUSAL_MS = 5_000;

export interface FlattenPorts {
  settings: { accountLabel: string; runId: string };
  clock: Clock;
  log: Logger;
  ledger: Ledger;
  leadership: Leadership;
  desk: OrderDesk;
  broker: BrokerView;
}

export interface FlattenSight {
  session: SessionState;
  /** The stop that the request belongs to is on. */
  isStopped: boolean;
}

export interface FlattenStep {
  /** undefined: it goes on. */
  ended: FlattenEnd | undefined;
  submitted: number;
}

export interface Flattener {
  /** Works off the active request, if there is one. @throws errors of ledger and broker that may pass */
  step(sight: FlattenSight): Promise<FlattenStep | undefined>;
  /** The request that was active at the newest step. */
  readonly active: FlattenRequest | undefined;
}

/** What is held, as the plan of a request; symbols that are flat are left out. */
export function targetsOf(book: Book): FlattenTarget[] {
  return [...(book.positions?.values() ?? [])]
    .filter(({ quantity }) => !quantity.isZero())
    .map(({ symbol, quantity }) => ({ symbol, quantity }))
    .sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
}

export function flattener(ports: FlattenPorts): Flattener {
  const { settings, clock, log, ledger, leadership, desk, broker } = ports;
  const { accountLabel } = settings;
  const refusals = new Map<string, { count: number; atMs: number }>();
  let active: FlattenRequest | undefined;
  let strategyId: string | undefined;

  const end = async (request: FlattenRequest, state: FlattenEnd): Promise<FlattenStep> => {
    await ledger.write(leadership, (tx) => tx.flatten.end(request.id, state, clock.nowMs()));
    const level = state === 'done' ? 'info' : 'error';
    log[level]({ flatten: request.id, cause: request.cause, state }, 'flatten ended');
    active = undefined;
    refusals.clear();
    return { ended: state, submitted: 0 };
  };

  const isResting = (symbol: string): boolean => {
    const known = refusals.get(symbol);
    if (!known) return false;
    return known.count >= MAX_REFUSALS || clock.nowMs() - known.atMs < AFTER_REFUSAL_MS * known.count;
  };

  const step = async (sight: FlattenSight): Promise<FlattenStep | undefined> => {
    active = await ledger.read.flatten.active(accountLabel);
    if (!active) return undefined;
    const request = active;
    if (!sight.isStopped && request.cause !== 'closeout') return end(request, 'cancelled');
    if (clock.nowMs() >= request.expiresAtMs) return end(request, 'expired');
    if (request.state === 'requested') {
      // What rests at the broker could open again what is being closed.
      await desk.cancelOpenOrders('flatten');
      await ledger.write(leadership, (tx) => tx.flatten.begin(request.id));
      log.warn({ flatten: request.id, cause: request.cause, symbols: request.targets.length }, 'flatten begins');
    }
    const book = await readBook(accountLabel, ledger.read, broker);
    if (!book.positions) return { ended: undefined, submitted: 0 };
    const left = request.targets.filter(({ symbol, quantity }) => isLeft(book, symbol, quantity));
    const isPending = book.pending.some((order) => request.targets.some(({ symbol }) => symbol === order.symbol));
    if (left.length === 0 && !isPending) return end(request, 'done');
    let submitted = 0;
    for (const target of left) if (await close(request, target, book, sight.session)) submitted += 1;
    return { ended: undefined, submitted };
  };

  const close = async (request: FlattenRequest, target: FlattenTarget, book: Book, session: SessionState) => {
    const { symbol } = target;
    const position = positionOf(book, symbol);
    const action = target.quantity.gt(0) ? ('sell' as const) : ('buy' as const);
    if (!position || isResting(symbol)) return false;
    // Everything is on its way already: wait for it.
    if (pendingQuantity(book.pending, symbol, action).gte(position.abs())) return false;
    strategyId ??= await ledger.write(leadership, (tx) =>
      tx.strategies.ensure(flattenStrategy, 'closes positions for an operator or an account stop; no catalog names it'),
    );
    const nowMs = clock.nowMs();
    const price = priceOf(book, symbol, nowMs);
    const quantity = Decimal.min(target.quantity.abs(), position.abs());
    const decision = flattenDecision({ symbol, action, quantity, price, nowMs, strategyId, request });
    const asset = await broker.asset(symbol);
    const facts = { nowMs, session, account: book.account, position, pending: book.pending, price, asset };
    const result = evaluateReduction(decision, facts);
    const detail = toJsonb({ flatten: request.id, cause: request.cause, reason: request.reason, risk: result.record });
    if (!result.ok) {
      noteRefusal(symbol, result.refusal.reasons);
      return false;
    }
    await ledger.write(leadership, (tx) => tx.decisions.insert({ decision, decidedAtMs: nowMs, detail }));
    const outcome = await desk.submitReduction(result.order);
    if (outcome.kind === 'submitted' || outcome.kind === 'unknown') return true;
    if (outcome.kind !== 'duplicate') noteRefusal(symbol, outcome.reasons);
    return false;
  };

  const noteRefusal = (symbol: string, reasons: readonly string[]) => {
    const count = (refusals.get(symbol)?.count ?? 0) + 1;
    refusals.set(symbol, { count, atMs: clock.nowMs() });
    log.error(
      { symbol, reasons, count },
      count >= MAX_REFUSALS ? 'a position cannot be closed' : 'a close was refused',
    );
  };

  const flattenDecision = (about: {
    symbol: string;
    action: 'buy' | 'sell';
    quantity: Decimal;
    price: PriceView | undefined;
    nowMs: number;
    strategyId: string;
    request: FlattenRequest;
  }): Decision => {
    const { symbol, action, quantity, price, nowMs, request } = about;
    const identity = { accountLabel, strategyName: flattenStrategy, symbol, timeframe: 'flatten', action };
    return {
      ...identity,
      id: randomUUID(),
      strategyId: about.strategyId,
      eventTsMs: nowMs,
      intent: 'exit',
      quantity,
      orderType: 'market',
      timeInForce: 'day',
      ...(price === undefined ? {} : { price: price.price, priceAsOfMs: price.asOfMs }),
      rationale: `flatten_${request.cause}`,
      // It rests on no signal: a place that no topic has.
      signal: {
        runId: settings.runId,
        symbol,
        windowSize: 'PT1S',
        eventTsMs: nowMs,
        revision: 0,
        sourcePartition: -1,
        sourceOffset: -1n,
      },
      hash: decisionHash({ ...identity, eventTsMs: nowMs, intent: 'exit' }),
    };
  };

  return {
    step,
    get active() {
      return active;
    },
  };
}

/** Is something of the target still held, on the side on which it was? */
function isLeft(book: Book, symbol: string, quantity: Decimal): boolean {
  const position = positionOf(book, symbol);
  return position !== undefined && reduces(quantity.gt(0) ? 'sell' : 'buy', position);
}

/** The broker's own price: a flatten must work when signals and bars do not. */
function priceOf(book: Book, symbol: string, nowMs: number): PriceView | undefined {
  const position = book.positions?.get(symbol);
  const price = position?.currentPrice ?? position?.averageEntryPrice;
  return price === undefined ? undefined : { price, asOfMs: nowMs };
}
