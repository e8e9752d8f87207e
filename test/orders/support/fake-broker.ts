/**
 * A tiny broker over HTTP whose every misbehaviour is chosen by the test: what happens to the next POSTs, what the lists
 * hide, when orders fill. It shares no code with lib/alpaca and counts what it was asked.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Decimal } from 'decimal.js';
import { listen } from '../../../src/lib/service/http.ts';

export type PostBehaviour =
  /** 200. */
  | 'accept'
  /** Accepts and never answers. */
  | 'accept_silent'
  /** Accepts and answers 500. */
  | 'accept_500'
  /** Accepts and closes the socket in the middle of the answer. */
  | 'accept_cut'
  /** Accepts and answers 200 with something that is no order. */
  | 'accept_garbled'
  /** Never answers; the order appears when the test calls `appear()`. */
  | 'later'
  /** Answers 503 and keeps nothing. */
  | 'fail_503'
  /** Closes the socket and keeps nothing. */
  | 'fail_reset'
  | 'refuse_429'
  | 'refuse_403_money'
  | 'refuse_403_day_trade'
  | 'refuse_403_html'
  | 'refuse_401'
  | 'refuse_422'
  /** Accepts, and says that the id is spent already. */
  | 'accept_then_duplicate';

interface FakeOrder {
  [key: string]: unknown;
  id: string;
  client_order_id: string;
  symbol: string;
  side: string;
  qty: string;
  filled_qty: string;
  status: string;
  submitted_at: string;
  updated_at: string;
}

interface FakeFill {
  id: string;
  executionId: string;
  orderId: string;
  symbol: string;
  side: string;
  qty: string;
  price: string;
  cumQty: string;
  at: string;
}

export interface FakeBroker {
  url: string;
  orders: FakeOrder[];
  fills: FakeFill[];
  /** Behaviours of the next POSTs, in order; `accept` when empty. */
  script: PostBehaviour[];
  /** Client order ids of every POST received, accepted or not. */
  posts: string[];
  requests: string[];
  /** Fills of an accepted order at once: quantities; the last takes the rest when it is `rest`. */
  fillPlan: ('rest' | number)[];
  /** Steps by order; wins over `fillPlan`. */
  fillPlanOf: ((order: FakeOrder) => ('rest' | number)[]) | undefined;
  /** Told of every change of an order, in order. */
  onUpdate: ((update: Record<string, unknown>) => void) | undefined;
  /** Orders that GET hides by client order id. */
  hidden: Set<string>;
  /** false: activities show nothing. */
  showsFills: boolean;
  /** Answer every read with this status. */
  readFailure: number | undefined;
  fill(orderId: string, qty: number, price?: string): { order: FakeOrder; fill: FakeFill };
  setStatus(orderId: string, status: string): void;
  /** Brings up the orders of `later`. */
  appear(): void;
  order(clientOrderId: string): FakeOrder | undefined;
  /** The trade_updates `data` object of the newest change of an order. */
  update(event: string, order: FakeOrder, fill?: FakeFill): Record<string, unknown>;
  close(): Promise<void>;
}

export async function startFakeBroker(nowMs: () => number): Promise<FakeBroker> {
  const later: FakeOrder[] = [];
  let ticks = 0;
  // A nanosecond apart, so that no two changes carry the same time.
  const now = () => new Date(nowMs()).toISOString().replace('Z', `${String(++ticks % 1_000_000).padStart(6, '0')}Z`);

  const broker: FakeBroker = {
    url: '',
    orders: [],
    fills: [],
    script: [],
    posts: [],
    requests: [],
    fillPlan: [],
    fillPlanOf: undefined,
    onUpdate: undefined,
    hidden: new Set(),
    showsFills: true,
    readFailure: undefined,
    fill: (orderId, qty, price = '185.3') => {
      const order = byId(orderId);
      const at = now();
      const filled = new Decimal(order.filled_qty).plus(qty);
      order.filled_qty = filled.toFixed();
      order.filled_avg_price = price;
      order.status = filled.eq(order.qty) ? 'filled' : 'partially_filled';
      order.updated_at = at;
      if (order.status === 'filled') order.filled_at = at;
      const executionId = randomUUID();
      const digits = at.replace(/\D/g, '').slice(0, 17);
      const fill: FakeFill = {
        id: `${digits}::${executionId}`,
        executionId,
        orderId,
        symbol: order.symbol,
        side: order.side,
        qty: String(qty),
        price,
        cumQty: filled.toFixed(),
        at,
      };
      broker.fills.push(fill);
      broker.onUpdate?.(broker.update(order.status === 'filled' ? 'fill' : 'partial_fill', order, fill));
      return { order, fill };
    },
    setStatus: (orderId, status) => {
      const order = byId(orderId);
      order.status = status;
      order.updated_at = now();
      if (status === 'canceled') order.canceled_at = order.updated_at;
      broker.onUpdate?.(broker.update(status, order));
    },
    appear: () => {
      for (const order of later.splice(0)) admit(order);
    },
    order: (clientOrderId) => broker.orders.find((order) => order.client_order_id === clientOrderId),
    update: (event, order, fill) => ({
      event,
      execution_id: fill?.executionId ?? randomUUID(),
      timestamp: fill?.at ?? order.updated_at,
      order: { ...order },
      ...(fill ? { price: fill.price, qty: fill.qty, position_qty: '0' } : {}),
    }),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };

  const byId = (id: string): FakeOrder => {
    const order = broker.orders.find((candidate) => candidate.id === id);
    if (!order) throw new Error(`no order ${id}`);
    return order;
  };

  const admit = (order: FakeOrder) => {
    broker.orders.push(order);
    broker.onUpdate?.(broker.update('new', order));
    let left = new Decimal(order.qty);
    for (const step of broker.fillPlanOf?.(order) ?? broker.fillPlan) {
      const qty = step === 'rest' ? left.toNumber() : step;
      left = left.minus(qty);
      broker.fill(order.id, qty);
    }
  };

  const newOrder = (body: Record<string, string>): FakeOrder => {
    const at = now();
    return {
      id: randomUUID(),
      client_order_id: body.client_order_id ?? randomUUID(),
      symbol: body.symbol ?? '',
      side: body.side ?? '',
      qty: body.qty ?? '0',
      notional: null,
      filled_qty: '0',
      filled_avg_price: null,
      type: body.type,
      order_type: body.type,
      time_in_force: body.time_in_force,
      limit_price: body.limit_price ?? null,
      stop_price: body.stop_price ?? null,
      status: 'new',
      created_at: at,
      submitted_at: at,
      updated_at: at,
      filled_at: null,
      canceled_at: null,
      replaced_by: null,
      replaces: null,
    };
  };

  const send = (response: ServerResponse, status: number, value: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(value === undefined ? undefined : JSON.stringify(value));
  };
  const refusal = (code: number, message: string) => ({ code, message });

  const post = (body: Record<string, string>, response: ServerResponse) => {
    const id = body.client_order_id ?? '';
    broker.posts.push(id);
    if (broker.order(id)) return send(response, 422, refusal(42210000, 'client_order_id must be unique'));
    const behaviour = broker.script.shift() ?? 'accept';
    if (behaviour === 'accept' || behaviour.startsWith('accept_')) admit(newOrder(body));
    switch (behaviour) {
      case 'accept':
        return send(response, 200, broker.order(id));
      case 'accept_silent':
        return undefined;
      case 'later':
        later.push(newOrder(body));
        return undefined;
      case 'accept_500':
        return send(response, 500, refusal(50010000, 'internal server error'));
      case 'accept_cut':
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '5000' });
        response.write('{"id":"');
        return void setTimeout(() => response.destroy(), 20);
      case 'accept_garbled':
        return send(response, 200, { ok: true });
      case 'accept_then_duplicate':
        return send(response, 422, refusal(40010001, 'client_order_id must be unique'));
      case 'fail_503':
        return send(response, 503, 'upstream');
      case 'fail_reset':
        return void response.destroy();
      case 'refuse_429':
        return send(response, 429, refusal(42910000, 'rate limit exceeded'));
      case 'refuse_403_money':
        return send(response, 403, refusal(40310000, 'insufficient buying power'));
      case 'refuse_403_day_trade':
        return send(response, 403, refusal(40310100, 'trade denied due to pattern day trading protection'));
      case 'refuse_403_html':
        response.writeHead(403, { 'content-type': 'text/html' });
        return void response.end('<html>blocked by the gateway</html>');
      case 'refuse_401':
        return send(response, 401, { message: 'unauthorized' });
      case 'refuse_422':
        return send(response, 422, refusal(40010001, 'qty must be integer'));
    }
  };

  const read = (url: URL, response: ServerResponse) => {
    if (broker.readFailure !== undefined) return send(response, broker.readFailure, refusal(1, 'no'));
    const visible = broker.orders.filter((order) => !broker.hidden.has(order.client_order_id));
    const path = url.pathname;
    if (path === '/v2/orders:by_client_order_id') {
      const found = visible.find((order) => order.client_order_id === url.searchParams.get('client_order_id'));
      return found ? send(response, 200, found) : send(response, 404, refusal(40410000, 'order not found'));
    }
    if (path === '/v2/orders') {
      const after = url.searchParams.get('after') ?? '';
      const limit = Number(url.searchParams.get('limit') ?? 50);
      // Times of one broker have one format: text order is time order, the fraction being cut only in `after`.
      const key = (text: string) => text.replace('Z', '').padEnd(30, '0');
      const list = visible.filter((order) => key(order.submitted_at) > key(after));
      return send(response, 200, list.slice(0, limit));
    }
    if (path.startsWith('/v2/orders/')) {
      const found = visible.find((order) => order.id === path.slice('/v2/orders/'.length));
      return found ? send(response, 200, found) : send(response, 404, refusal(40410000, 'order not found'));
    }
    if (path === '/v2/account/activities/FILL') {
      const token = url.searchParams.get('page_token');
      const from = token === null ? 0 : broker.fills.findIndex((fill) => fill.id === token) + 1;
      const page = broker.showsFills
        ? broker.fills.slice(from, from + Number(url.searchParams.get('page_size') ?? 100))
        : [];
      return send(
        response,
        200,
        page.map((fill) => ({
          id: fill.id,
          activity_type: 'FILL',
          order_id: fill.orderId,
          symbol: fill.symbol,
          side: fill.side,
          qty: fill.qty,
          price: fill.price,
          transaction_time: fill.at,
        })),
      );
    }
    if (path === '/v2/positions') {
      const held = new Map<string, Decimal>();
      for (const fill of broker.fills) {
        const signed = new Decimal(fill.qty).times(fill.side === 'buy' ? 1 : -1);
        held.set(fill.symbol, (held.get(fill.symbol) ?? new Decimal(0)).plus(signed));
      }
      return send(
        response,
        200,
        [...held]
          .filter(([, qty]) => !qty.isZero())
          .map(([symbol, qty]) => ({
            symbol,
            qty: qty.toFixed(),
            side: qty.gt(0) ? 'long' : 'short',
            avg_entry_price: '185.3',
          })),
      );
    }
    return send(response, 404, refusal(40410000, `no route ${path}`));
  };

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    broker.requests.push(`${request.method} ${url.pathname}`);
    if (request.method === 'GET') return read(url, response);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.method === 'POST')
      return post(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>, response);
    const order = broker.orders.find((candidate) => url.pathname === `/v2/orders/${candidate.id}`);
    if (!order) return send(response, 404, refusal(40410000, 'order not found'));
    if (['filled', 'canceled'].includes(order.status))
      return send(response, 422, refusal(42210000, 'order is not cancelable'));
    broker.setStatus(order.id, 'canceled');
    response.writeHead(204);
    response.end();
  };
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  broker.url = `http://127.0.0.1:${await listen(server, 0)}`;
  return broker;
}
