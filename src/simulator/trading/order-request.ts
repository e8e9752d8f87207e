/**
 * Reads the body of POST /v2/orders and of PATCH and applies every rule that needs no account and no market: presence,
 * enums, price increments, whole shares, extended hours. Facts: alpaca-protocol 3, trading-and-ops 4.3; messages as quoted
 * there or by public reports of real answers.
 */
import { z } from 'zod';
import { type Amount, parseAmount, text } from './amount.ts';
import { type BrokerError, forbidden, invalidParameter, unprocessable } from './broker-error.ts';
import type { OrderSide, OrderType, PositionIntent, TimeInForce } from './order-record.ts';

/** A request that passed the static rules; amounts are canonical text. */
export interface OrderTerms {
  symbol: string;
  side: OrderSide;
  type: OrderType;
  timeInForce: TimeInForce;
  qty: string | null;
  notional: string | null;
  limitPrice: string | null;
  stopPrice: string | null;
  trailPrice: string | null;
  trailPercent: string | null;
  extendedHours: boolean;
  clientOrderId: string | null;
  positionIntent: PositionIntent | null;
}

const numeric = z.union([z.string(), z.number()]).nullish();
const bodySchema = z.looseObject({
  symbol: z.string().nullish(),
  side: z.string().nullish(),
  type: z.string().nullish(),
  time_in_force: z.string().nullish(),
  qty: numeric,
  notional: numeric,
  limit_price: numeric,
  stop_price: numeric,
  trail_price: numeric,
  trail_percent: numeric,
  extended_hours: z.union([z.boolean(), z.enum(['true', 'false'])]).nullish(),
  client_order_id: z.string().nullish(),
  order_class: z.string().nullish(),
  position_intent: z.string().nullish(),
});

const orderTypes: readonly string[] = ['market', 'limit', 'stop', 'stop_limit', 'trailing_stop'];
const timesInForce: readonly string[] = ['day', 'gtc', 'opg', 'cls', 'ioc', 'fok'];
const intents: readonly string[] = ['buy_to_open', 'buy_to_close', 'sell_to_open', 'sell_to_close'];
const MAX_CLIENT_ORDER_ID = 128;

function oneOf<T extends string>(name: string, value: string | null | undefined, allowed: readonly string[]): T {
  if (value === null || value === undefined || value === '') throw invalidParameter(`${name} is required`);
  if (!allowed.includes(value)) throw invalidParameter(`invalid ${name}`);
  return value as T;
}

/** A number above zero, or null when absent. @throws BrokerError 422/40010001 */
function positive(name: string, value: string | number | null | undefined): Amount | null {
  if (value === null || value === undefined || value === '') return null;
  const parsed = parseAmount(value);
  if (!parsed) throw invalidParameter(`invalid ${name}`);
  if (parsed.lte(0)) throw invalidParameter(`${name.replace('_', ' ')} must be > 0`);
  return parsed;
}

/** At least one dollar: whole cents; below: hundredths of a cent. */
function checkIncrement(name: string, price: Amount | null): void {
  if (price && price.decimalPlaces() > (price.gte(1) ? 2 : 4)) {
    throw unprocessable(
      `invalid ${name} ${text(price)}. sub-penny increment does not fulfill minimum pricing criteria`,
    );
  }
}

export function checkClientOrderId(id: string | null | undefined): string | null {
  if (id === null || id === undefined || id === '') return null;
  if (id.length > MAX_CLIENT_ORDER_ID) {
    throw invalidParameter(`client_order_id must be no more than ${MAX_CLIENT_ORDER_ID} characters`);
  }
  return id;
}

function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.');
  throw invalidParameter(where ? `invalid ${where}` : 'request body format is invalid');
}

/** Which prices a type needs and which it may not carry. */
function checkPrices(terms: OrderTerms): void {
  const { type } = terms;
  const hasLimit = type === 'limit' || type === 'stop_limit';
  const hasStop = type === 'stop' || type === 'stop_limit';
  const refuse = (name: string): BrokerError =>
    invalidParameter(`${type.replace('_', ' ')} orders must not have ${name}`);
  if (hasLimit && terms.limitPrice === null)
    throw invalidParameter(`${type.replace('_', ' ')} orders require limit price`);
  if (!hasLimit && terms.limitPrice !== null) throw refuse('limit price');
  if (hasStop && terms.stopPrice === null)
    throw invalidParameter(`${type.replace('_', ' ')} orders require stop price`);
  if (!hasStop && terms.stopPrice !== null) throw refuse('stop price');
  const trails = [terms.trailPrice, terms.trailPercent].filter((trail) => trail !== null).length;
  if (type === 'trailing_stop' && trails !== 1) {
    throw invalidParameter('trailing stop orders must specify one of trail_price or trail_percent');
  }
  if (type !== 'trailing_stop' && trails > 0) throw refuse('trail price or trail percent');
}

/** Whole shares, fractions, money amounts: what goes with which type and time in force. */
export function checkQuantity(terms: OrderTerms): void {
  if (terms.qty === null && terms.notional === null) throw invalidParameter('qty or notional is required');
  if (terms.qty !== null && terms.notional !== null) {
    throw invalidParameter('only one of qty or notional is accepted');
  }
  const qty = terms.qty === null ? undefined : parseAmount(terms.qty);
  const isFraction = terms.notional !== null || (qty !== undefined && !qty.isInteger());
  if (!isFraction) return;
  if (terms.type === 'trailing_stop') throw invalidParameter('qty must be integer');
  if (terms.timeInForce !== 'day') throw unprocessable('fractional orders must be DAY orders');
  if (qty && qty.decimalPlaces() > 9) throw invalidParameter('qty increments must be at least 0.000000001');
  if (terms.notional !== null && (parseAmount(terms.notional)?.decimalPlaces() ?? 0) > 2) {
    throw unprocessable('notional value must be limited to 2 decimal places');
  }
  if (terms.notional !== null && parseAmount(terms.notional)?.lt(1)) {
    throw forbidden('cost basis must be >= minimal amount of order 1');
  }
}

function checkTimes(terms: OrderTerms): void {
  if (terms.extendedHours) {
    if (terms.type !== 'limit') throw invalidParameter('only type="limit" is allowed for extended hours orders');
    if (terms.timeInForce !== 'day' && terms.timeInForce !== 'gtc') {
      throw invalidParameter('extended hours orders must be DAY or GTC orders');
    }
  }
  if (
    (terms.timeInForce === 'opg' || terms.timeInForce === 'cls') &&
    terms.type !== 'market' &&
    terms.type !== 'limit'
  ) {
    throw invalidParameter(`${terms.timeInForce} orders must be market or limit orders`);
  }
  if ((terms.timeInForce === 'ioc' || terms.timeInForce === 'fok') && terms.type === 'trailing_stop') {
    throw invalidParameter('trailing stop orders must be DAY or GTC orders');
  }
}

/** @throws BrokerError 422 for everything that the body alone makes impossible */
export function parseOrderRequest(body: unknown): OrderTerms {
  const given = parseBody(bodySchema, body);
  if (!given.symbol) throw invalidParameter('symbol is required');
  if (given.order_class && given.order_class !== 'simple') {
    throw unprocessable(`order_class ${given.order_class} is not supported by this exchange`);
  }
  if (given.position_intent && !intents.includes(given.position_intent))
    throw invalidParameter('invalid position_intent');
  const limit = positive('limit_price', given.limit_price);
  const stop = positive('stop_price', given.stop_price);
  const trailPrice = positive('trail_price', given.trail_price);
  const trailPercent = positive('trail_percent', given.trail_percent);
  const qty = positive('qty', given.qty);
  const notional = positive('notional', given.notional);
  const show = (value: Amount | null) => (value ? text(value) : null);
  const terms: OrderTerms = {
    symbol: given.symbol.toUpperCase(),
    side: oneOf<OrderSide>('side', given.side, ['buy', 'sell']),
    type: oneOf<OrderType>('type', given.type, orderTypes),
    timeInForce: oneOf<TimeInForce>('time_in_force', given.time_in_force, timesInForce),
    qty: show(qty),
    notional: show(notional),
    limitPrice: show(limit),
    stopPrice: show(stop),
    trailPrice: show(trailPrice),
    trailPercent: show(trailPercent),
    extendedHours: given.extended_hours === true || given.extended_hours === 'true',
    clientOrderId: checkClientOrderId(given.client_order_id),
    positionIntent: (given.position_intent ?? null) as PositionIntent | null,
  };
  checkQuantity(terms);
  checkPrices(terms);
  checkTimes(terms);
  checkIncrement('limit_price', limit);
  checkIncrement('stop_price', stop);
  checkIncrement('trail_price', trailPrice);
  if (trailPercent?.gte(100)) throw invalidParameter('trail_percent must be < 100');
  return terms;
}

const patchSchema = z.looseObject({
  qty: numeric,
  notional: numeric,
  limit_price: numeric,
  stop_price: numeric,
  trail: numeric,
  time_in_force: z.string().nullish(),
  client_order_id: z.string().nullish(),
});

/** The changes that a PATCH asks for; absent members stay as they are. */
export interface ReplaceTerms {
  qty: string | null;
  limitPrice: string | null;
  stopPrice: string | null;
  trail: string | null;
  timeInForce: TimeInForce | null;
  clientOrderId: string | null;
}

/** @throws BrokerError 422 */
export function parseReplaceRequest(body: unknown): ReplaceTerms {
  const given = parseBody(patchSchema, body);
  if (given.notional !== null && given.notional !== undefined) {
    throw unprocessable('notional orders cannot be replaced');
  }
  const qty = positive('qty', given.qty);
  if (qty && !qty.isInteger()) throw invalidParameter('qty must be integer');
  const limit = positive('limit_price', given.limit_price);
  const stop = positive('stop_price', given.stop_price);
  const trail = positive('trail', given.trail);
  checkIncrement('limit_price', limit);
  checkIncrement('stop_price', stop);
  const show = (value: Amount | null) => (value ? text(value) : null);
  return {
    qty: show(qty),
    limitPrice: show(limit),
    stopPrice: show(stop),
    trail: show(trail),
    timeInForce: given.time_in_force ? oneOf<TimeInForce>('time_in_force', given.time_in_force, timesInForce) : null,
    clientOrderId: checkClientOrderId(given.client_order_id),
  };
}
