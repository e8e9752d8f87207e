/**
 * The table of the trading routes: method, path, what it answers. Mechanics (keys, limits, faults, errors) are in
 * rest-server.ts. Facts: alpaca-protocol 3, trading-and-ops 4.4, the paths of Alpaca's SDK 4.0.2.
 */
import { z } from 'zod';
import type { FaultRegistry } from '../faults.ts';
import { accountView, positionView } from './account-view.ts';
import { type Amount, parseAmount } from './amount.ts';
import { wireAsset } from './assets.ts';
import type { Broker } from './broker.ts';
import { BrokerError, invalidParameter, notFound } from './broker-error.ts';
import type { AccountConfiguration } from './broker-state.ts';
import { isUuid } from './identity.ts';
import { calendarDays, clockView, marketCalendar, marketClocks } from './market-hours.ts';
import { listActivities, listOrders } from './order-queries.ts';
import { type OrderRecord, wireOrder } from './order-record.ts';
import { parseOrderRequest, parseReplaceRequest } from './order-request.ts';

export interface RouteCall {
  broker: Broker;
  faults: FaultRegistry;
  /** Variable parts of the path, decoded. */
  params: Record<string, string>;
  query: URLSearchParams;
  /** Parsed JSON body; undefined when there was none. */
  body: unknown;
  /** Number of the POST in the journal. */
  request?: number;
}

export interface RouteAnswer {
  status: number;
  body?: unknown;
}

export interface TradingRoute {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  describe: string;
  answer(call: RouteCall): RouteAnswer;
}

const ok = (body: unknown): RouteAnswer => ({ status: 200, body });

function orderId(call: RouteCall): string {
  const id = call.params.order_id ?? '';
  if (!isUuid(id)) throw invalidParameter('order_id is not a valid uuid');
  return id.toLowerCase();
}

function knownOrder(call: RouteCall): OrderRecord {
  const id = orderId(call);
  call.broker.engine.settle();
  const order = call.broker.state.order(id);
  if (!order) throw notFound(`order not found for ${id}`);
  return order;
}

/** Cancels one order; the fault late_fill lets a fill win against the cancel. */
function cancelOrder(call: RouteCall, id: string): void {
  const order = call.broker.state.order(id);
  const hit = call.faults.take('late_fill', order ? { symbol: order.symbol } : {});
  call.broker.cancel(id, hit ? BigInt(Math.round(hit.number('ms', 50))) * 1_000_000n : undefined);
}

/** Does something for one of several things and tells the outcome as Alpaca's 207 lists do. */
function attempt(act: () => unknown): { status: number; body?: unknown } {
  try {
    const body = act();
    return body === undefined ? { status: 200 } : { status: 200, body };
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return { status: error.status, body: error.body() };
  }
}

function cancelAll(call: RouteCall, keep: (order: OrderRecord) => boolean = () => true) {
  return call.broker.state
    .allOpenOrders()
    .filter((order) => order.status !== 'pending_cancel' && keep(order))
    .map((order) => ({ id: order.id, ...attempt(() => cancelOrder(call, order.id)) }));
}

function part(query: URLSearchParams, name: string): Amount | undefined {
  const given = query.get(name);
  if (given === null || given === '') return undefined;
  const value = parseAmount(given);
  if (!value || value.lte(0)) throw invalidParameter(`invalid ${name}`);
  return value;
}

function position(call: RouteCall) {
  call.broker.engine.settle();
  const name = call.params.symbol_or_asset_id ?? '';
  const symbol = call.broker.engine.assets.find(name)?.symbol ?? name.toUpperCase();
  const held = call.broker.state.account.positions.get(symbol);
  if (!held) throw notFound('position does not exist');
  return held;
}

const configurationSchema = z.strictObject({
  suspend_trade: z.boolean(),
  no_shorting: z.boolean(),
  fractional_trading: z.boolean(),
  // The account was opened with twice its equity at most; more is not offered.
  max_margin_multiplier: z.enum(['1', '2']),
  trade_confirm_email: z.enum(['all', 'none']),
  disable_overnight_trading: z.boolean(),
  ptp_no_exception_entry: z.boolean(),
  max_options_trading_level: z.number().int().min(0).max(3),
});

function configure(call: RouteCall): AccountConfiguration {
  const parsed = configurationSchema.partial().safeParse(call.body ?? {});
  if (!parsed.success) throw invalidParameter(`invalid ${parsed.error.issues[0]?.path.join('.') || 'request body'}`);
  const change = Object.fromEntries(Object.entries(parsed.data).filter(([, value]) => value !== undefined));
  return call.broker.configure(change);
}

function byClientOrderId(call: RouteCall): RouteAnswer {
  const id = call.query.get('client_order_id');
  if (!id) throw invalidParameter('client_order_id is required');
  call.broker.engine.settle();
  const order = call.broker.state.orderByClientId(id);
  if (!order) throw notFound(`order not found for ${id}`);
  return ok(wireOrder(order));
}

/** Longer literal paths come before those with a variable in their place. */
export const tradingRoutes: readonly TradingRoute[] = [
  {
    method: 'GET',
    path: '/v2/account',
    describe: 'the account',
    answer: ({ broker }) => ok(accountView(broker, broker.engine.settle())),
  },
  {
    method: 'GET',
    path: '/v2/account/configurations',
    describe: 'account configurations',
    answer: ({ broker }) => ok(broker.state.configuration),
  },
  {
    method: 'PATCH',
    path: '/v2/account/configurations',
    describe: 'changes account configurations',
    answer: (call) => ok(configure(call)),
  },
  { method: 'GET', path: '/v2/account/activities', describe: 'account activities (fills)', answer: activities },
  {
    method: 'GET',
    path: '/v2/account/activities/{activity_type}',
    describe: 'account activities of one type',
    answer: activities,
  },
  {
    method: 'GET',
    path: '/v2/positions',
    describe: 'all open positions',
    answer: ({ broker }) => {
      broker.engine.settle();
      return ok([...broker.state.account.positions.values()].map((held) => positionView(broker, held)));
    },
  },
  {
    method: 'GET',
    path: '/v2/positions/{symbol_or_asset_id}',
    describe: 'one open position',
    answer: (call) => ok(positionView(call.broker, position(call))),
  },
  {
    method: 'DELETE',
    path: '/v2/positions',
    describe: 'closes all positions',
    answer: (call) => {
      call.broker.engine.settle();
      if (call.query.get('cancel_orders') === 'true') cancelAll(call);
      const symbols = [...call.broker.state.account.positions.keys()];
      const closed = symbols.map((symbol) => ({
        symbol,
        ...attempt(() => wireOrder(call.broker.closePosition(symbol))),
      }));
      return { status: 207, body: closed };
    },
  },
  {
    method: 'DELETE',
    path: '/v2/positions/{symbol_or_asset_id}',
    describe: 'closes a position, or a part of it (qty, percentage)',
    answer: (call) => {
      const qty = part(call.query, 'qty');
      const percentage = part(call.query, 'percentage');
      const { symbol } = position(call);
      return ok(
        wireOrder(
          call.broker.closePosition(symbol, { ...(qty ? { qty } : {}), ...(percentage ? { percentage } : {}) }),
        ),
      );
    },
  },
  {
    method: 'POST',
    path: '/v2/orders',
    describe: 'submits an order',
    answer: (call) => ok(wireOrder(call.broker.submit(parseOrderRequest(call.body), call.request))),
  },
  {
    method: 'GET',
    path: '/v2/orders',
    describe: 'orders by status, time, side and symbols',
    answer: ({ broker, query }) => {
      broker.engine.settle();
      return ok(listOrders(broker.state, query));
    },
  },
  {
    method: 'DELETE',
    path: '/v2/orders',
    describe: 'cancels all open orders',
    answer: (call) => {
      call.broker.engine.settle();
      return { status: 207, body: cancelAll(call) };
    },
  },
  {
    method: 'GET',
    path: '/v2/orders:by_client_order_id',
    describe: 'one order by its client order id',
    answer: byClientOrderId,
  },
  {
    method: 'GET',
    path: '/v2/orders/{order_id}',
    describe: 'one order',
    answer: (call) => ok(wireOrder(knownOrder(call))),
  },
  {
    method: 'PATCH',
    path: '/v2/orders/{order_id}',
    describe: 'replaces an order',
    answer: (call) => ok(wireOrder(call.broker.replace(orderId(call), parseReplaceRequest(call.body)))),
  },
  {
    method: 'DELETE',
    path: '/v2/orders/{order_id}',
    describe: 'cancels an order',
    answer: (call) => {
      cancelOrder(call, knownOrder(call).id);
      return { status: 204 };
    },
  },
  { method: 'GET', path: '/v2/assets', describe: 'all assets', answer: assets },
  {
    method: 'GET',
    path: '/v2/assets/{symbol_or_asset_id}',
    describe: 'one asset',
    answer: ({ broker, params }) => {
      const name = params.symbol_or_asset_id ?? '';
      const asset = broker.engine.assets.find(name);
      if (!asset) throw notFound(`asset not found for ${name}`);
      return ok(wireAsset(asset));
    },
  },
  {
    method: 'GET',
    path: '/v2/clock',
    describe: 'market clock',
    answer: ({ broker }) => ok(clockView(broker.engine.settle())),
  },
  {
    method: 'GET',
    path: '/v3/clock',
    describe: 'clocks of several markets',
    answer: ({ broker, query }) => ok(marketClocks(broker.engine.settle(), query)),
  },
  { method: 'GET', path: '/v2/calendar', describe: 'trading days', answer: ({ query }) => ok(calendarDays(query)) },
  {
    method: 'GET',
    path: '/v3/calendar/{market}',
    describe: 'trading days of one market',
    answer: ({ params, query }) => ok(marketCalendar(params.market ?? '', query)),
  },
];

function activities({ broker, params, query }: RouteCall): RouteAnswer {
  broker.engine.settle();
  return ok(listActivities(broker.state, query, params.activity_type));
}

function assets({ broker, query }: RouteCall): RouteAnswer {
  const status = query.get('status') || 'active';
  const assetClass = query.get('asset_class') || 'us_equity';
  const exchange = query.get('exchange');
  const found = broker.engine.assets.all().filter((asset) => !exchange || asset.exchange === exchange);
  return ok(status === 'active' && assetClass === 'us_equity' ? found.map(wireAsset) : []);
}
