/**
 * Shapes of the trading REST replies (alpaca-protocol 3, spec trading 4.4).
 * Guarantees: amounts become decimals (they arrive as strings, sometimes as numbers), times become market nanoseconds;
 * unknown fields are kept in `raw` and never break a reply.
 */
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import { parseTimestampNs } from '../market/time.ts';

const amount = z.union([z.string(), z.number()]).transform((value, context) => {
  const text = String(value).trim();
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/.test(text)) {
    context.issues.push({ code: 'custom', message: 'not a decimal number', input: value });
    return z.NEVER;
  }
  return new Decimal(text);
});
const optionalAmount = amount.nullish().transform((value) => value ?? undefined);
const time = z.string().transform((text, context) => {
  const ns = parseTimestampNs(text);
  if (ns === undefined) {
    context.issues.push({ code: 'custom', message: 'not a timestamp', input: text });
    return z.NEVER;
  }
  return ns;
});
const optionalTime = time.nullish().transform((value) => value ?? undefined);
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined);

const orderSchema = z.looseObject({
  id: z.string().min(1),
  client_order_id: z.string().min(1),
  symbol: z.string().min(1),
  side: z.enum(['buy', 'sell']),
  type: z.string().optional(),
  order_type: z.string().optional(),
  time_in_force: z.string(),
  qty: optionalAmount,
  notional: optionalAmount,
  filled_qty: optionalAmount,
  filled_avg_price: optionalAmount,
  limit_price: optionalAmount,
  stop_price: optionalAmount,
  status: z.string().min(1),
  submitted_at: optionalTime,
  created_at: optionalTime,
  updated_at: optionalTime,
  filled_at: optionalTime,
  canceled_at: optionalTime,
  expired_at: optionalTime,
  failed_at: optionalTime,
  replaced_by: optionalText,
  replaces: optionalText,
});

/** One order as the broker shows it. */
export interface BrokerOrder {
  id: string;
  clientOrderId: string;
  symbol: string;
  side: 'buy' | 'sell';
  type: string;
  timeInForce: string;
  quantity?: Decimal;
  filledQty: Decimal;
  filledAvgPrice?: Decimal;
  limitPrice?: Decimal;
  stopPrice?: Decimal;
  /** The broker's own word. */
  status: string;
  /** Market nanoseconds. */
  submittedNs?: bigint;
  updatedNs?: bigint;
  filledNs?: bigint;
  canceledNs?: bigint;
  replacedBy?: string;
  /** The order that this one took the place of. */
  replaces?: string;
  /** The reply as it came. */
  raw: Record<string, unknown>;
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Parses one order. @throws ZodError */
export function parseOrder(value: unknown): BrokerOrder {
  const order = orderSchema.parse(value);
  return withoutUndefined({
    id: order.id,
    clientOrderId: order.client_order_id,
    symbol: order.symbol,
    side: order.side,
    type: order.type ?? order.order_type ?? 'unknown',
    timeInForce: order.time_in_force,
    quantity: order.qty,
    filledQty: order.filled_qty ?? new Decimal(0),
    filledAvgPrice: order.filled_avg_price,
    limitPrice: order.limit_price,
    stopPrice: order.stop_price,
    status: order.status,
    submittedNs: order.submitted_at ?? order.created_at,
    updatedNs: order.updated_at,
    filledNs: order.filled_at,
    canceledNs: order.canceled_at ?? order.expired_at ?? order.failed_at,
    replacedBy: order.replaced_by,
    replaces: order.replaces,
    raw: value as Record<string, unknown>,
  });
}

export function parseOrders(value: unknown): BrokerOrder[] {
  return z.array(z.unknown()).parse(value).map(parseOrder);
}

const accountSchema = z.looseObject({
  id: z.string(),
  account_number: optionalText,
  status: z.string(),
  currency: optionalText,
  equity: amount,
  last_equity: optionalAmount,
  cash: amount,
  buying_power: amount,
  multiplier: optionalAmount,
  long_market_value: optionalAmount,
  short_market_value: optionalAmount,
  trading_blocked: z.boolean().default(false),
  account_blocked: z.boolean().default(false),
  trade_suspended_by_user: z.boolean().default(false),
  shorting_enabled: z.boolean().default(false),
  pattern_day_trader: z.boolean().nullish(),
  daytrade_count: z.number().nullish(),
});

export interface BrokerAccount {
  id: string;
  accountNumber?: string;
  status: string;
  equity: Decimal;
  lastEquity?: Decimal;
  cash: Decimal;
  buyingPower: Decimal;
  multiplier?: Decimal;
  isShortingEnabled: boolean;
  /** Why no order may be sent (`status`, `trading_blocked`, …); empty when the account may trade. */
  restrictions: readonly string[];
}

/** @throws ZodError */
export function parseAccount(value: unknown): BrokerAccount {
  const account = accountSchema.parse(value);
  const restrictions = [
    account.status === 'ACTIVE' ? undefined : `status_${account.status.toLowerCase()}`,
    account.trading_blocked ? 'trading_blocked' : undefined,
    account.account_blocked ? 'account_blocked' : undefined,
    account.trade_suspended_by_user ? 'trade_suspended_by_user' : undefined,
  ].filter((reason) => reason !== undefined);
  return withoutUndefined({
    id: account.id,
    accountNumber: account.account_number,
    status: account.status,
    equity: account.equity,
    lastEquity: account.last_equity,
    cash: account.cash,
    buyingPower: account.buying_power,
    multiplier: account.multiplier,
    isShortingEnabled: account.shorting_enabled,
    restrictions,
  });
}

const positionSchema = z.looseObject({
  symbol: z.string(),
  qty: amount,
  qty_available: optionalAmount,
  side: z.string(),
  avg_entry_price: amount,
  market_value: optionalAmount,
  cost_basis: optionalAmount,
  current_price: optionalAmount,
  unrealized_pl: optionalAmount,
});

export interface BrokerPosition {
  symbol: string;
  /** Signed: negative is short, whatever sign the broker sent. */
  quantity: Decimal;
  quantityAvailable?: Decimal;
  avgEntryPrice: Decimal;
  /** Signed like the quantity. */
  marketValue?: Decimal;
  currentPrice?: Decimal;
  unrealizedPl?: Decimal;
}

/** @throws ZodError */
export function parsePositions(value: unknown): BrokerPosition[] {
  return z
    .array(positionSchema)
    .parse(value)
    .map((position) => {
      const sign = position.side === 'short' ? -1 : 1;
      return withoutUndefined({
        symbol: position.symbol,
        quantity: position.qty.abs().times(sign),
        quantityAvailable: position.qty_available?.abs().times(sign),
        avgEntryPrice: position.avg_entry_price,
        marketValue: position.market_value?.abs().times(sign),
        currentPrice: position.current_price,
        unrealizedPl: position.unrealized_pl,
      });
    });
}

const activitySchema = z.looseObject({
  id: z.string(),
  activity_type: z.literal('FILL'),
  order_id: z.string(),
  symbol: z.string(),
  side: z.string(),
  qty: amount,
  price: amount,
  cum_qty: optionalAmount,
  transaction_time: time,
});

/** One fill as GET /v2/account/activities/FILL shows it. */
export interface FillActivity {
  /** `time::uuid`; the page token of the next page. */
  id: string;
  /** The part behind `::`. */
  executionId: string;
  orderId: string;
  symbol: string;
  side: 'buy' | 'sell';
  quantity: Decimal;
  price: Decimal;
  /** Filled quantity of the order after this fill, where the broker says it. */
  cumulativeQty?: Decimal;
  transactionNs: bigint;
}

/** @throws ZodError */
export function parseFillActivities(value: unknown): FillActivity[] {
  return z
    .array(activitySchema)
    .parse(value)
    .map((activity) =>
      withoutUndefined({
        id: activity.id,
        executionId: activity.id.includes('::') ? (activity.id.split('::').at(-1) as string) : activity.id,
        orderId: activity.order_id,
        symbol: activity.symbol,
        // `sell_short` is a side of activities only.
        side: activity.side.startsWith('sell') ? ('sell' as const) : ('buy' as const),
        quantity: activity.qty.abs(),
        price: activity.price,
        cumulativeQty: activity.cum_qty,
        transactionNs: activity.transaction_time,
      }),
    );
}

const clockSchema = z.looseObject({ timestamp: time, is_open: z.boolean(), next_open: time, next_close: time });

export interface BrokerClock {
  timestampNs: bigint;
  isOpen: boolean;
  nextOpenNs: bigint;
  nextCloseNs: bigint;
}

/** @throws ZodError */
export function parseClock(value: unknown): BrokerClock {
  const clock = clockSchema.parse(value);
  return {
    timestampNs: clock.timestamp,
    isOpen: clock.is_open,
    nextOpenNs: clock.next_open,
    nextCloseNs: clock.next_close,
  };
}

const calendarSchema = z.array(z.looseObject({ date: z.string(), open: z.string(), close: z.string() }));

/** Session days: date `YYYY-MM-DD`, open and close `HH:MM` in New York. */
export interface CalendarDay {
  date: string;
  open: string;
  close: string;
}

/** @throws ZodError */
export function parseCalendar(value: unknown): CalendarDay[] {
  return calendarSchema.parse(value).map(({ date, open, close }) => ({ date, open, close }));
}

const assetSchema = z.looseObject({
  symbol: z.string(),
  status: z.string(),
  tradable: z.boolean(),
  shortable: z.boolean().default(false),
  easy_to_borrow: z.boolean().default(false),
  fractionable: z.boolean().default(false),
});

export interface BrokerAsset {
  symbol: string;
  isActive: boolean;
  isTradable: boolean;
  isShortable: boolean;
  isEasyToBorrow: boolean;
  isFractionable: boolean;
}

/** @throws ZodError */
export function parseAsset(value: unknown): BrokerAsset {
  const asset = assetSchema.parse(value);
  return {
    symbol: asset.symbol,
    isActive: asset.status === 'active',
    isTradable: asset.tradable,
    isShortable: asset.shortable,
    isEasyToBorrow: asset.easy_to_borrow,
    isFractionable: asset.fractionable,
  };
}
