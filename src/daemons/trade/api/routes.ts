/** The routes of the HTTP API: what each takes, gives and is for. The server and the OpenAPI document are made of this list. */
import { Decimal } from 'decimal.js';
import type { Registry } from 'prom-client';
import type { z } from 'zod';
import { checkJson, type LedgerCheck } from '../../../lib/ledger/check.ts';
import type { ListPlace } from '../../../lib/ledger/contract.ts';
import type { OrderLedger } from '../../../lib/ledger/open.ts';
import { profitOver } from '../../../lib/ledger/profit.ts';
import { defined } from '../../../lib/ledger/values.ts';
import { newYorkInstant, newYorkTime } from '../../../lib/market/calendar.ts';
import type { OrderDesk } from '../../../lib/orders/contract.ts';
import { type Clock, NS_PER_MS } from '../../../lib/service/clock.ts';
import { codeOf, describeError } from '../../../lib/service/errors.ts';
import { machineMs } from '../../../lib/service/machine.ts';
import { readLedgerView, type StatusBoard, statusJson } from '../status.ts';
import { healthOf, type Probe } from './health.ts';
import { cursorText, decisionJson, executionJson, parseCursor, timeText } from './rows.ts';
import * as schemas from './schemas.ts';

export interface ApiPorts {
  board: StatusBoard;
  clock: Clock;
  metrics: Registry;
  /** The ledger of the present session; undefined between two. */
  ledger(): OrderLedger | undefined;
  /** The order desk of the present session; undefined while this process does not lead. */
  desk(): OrderDesk | undefined;
  pingStore: Probe;
  /** Looks at the schema of the ledger. @throws when it does not answer */
  checkLedger(): Promise<LedgerCheck>;
  drain(): void;
}

interface Answer {
  status: number;
  body: unknown;
  /** Of an answer that is text. */
  contentType?: string;
}

export interface ApiRoute {
  method: 'GET' | 'POST';
  path: string;
  id: string;
  summary: string;
  isMutation: boolean;
  query: z.ZodType;
  /** undefined: text. */
  answer: z.ZodType | undefined;
  okStatus?: number;
  /** What a 503 of this route carries; the error object when undefined. */
  degraded?: z.ZodType;
  handle(query: never): Promise<Answer>;
}

/** A request that cannot be answered as asked. */
export class ApiRefusal extends Error {
  override readonly name = 'ApiRefusal';
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Machine ms that counts of the ledger are shown before they are read anew. */
const VIEW_MS = 200;
const DAY_MS = 86_400_000;

export function apiRoutes(ports: ApiPorts, document: () => unknown): readonly ApiRoute[] {
  const { board, clock } = ports;
  const { accountLabel } = board.settings;
  const health = healthOf(ports);
  const refreshView = viewRefresher(ports);
  const ok = (body: unknown): Answer => ({ status: 200, body });

  const ledgerOr503 = (): OrderLedger => {
    const ledger = ports.ledger();
    if (ledger) return ledger;
    throw new ApiRefusal(503, 'ledger_unreachable', 'the ledger is not connected');
  };
  const asked = async <T>(read: (ledger: OrderLedger) => Promise<T>): Promise<T> => {
    const ledger = ledgerOr503();
    try {
      return await read(ledger);
    } catch (error) {
      throw new ApiRefusal(503, codeOf(error) ?? 'ledger_unreachable', describeError(error));
    }
  };

  /** One page, newest first: a row more is read than shown, to know whether another page follows. */
  const page = async <T>(
    query: schemas.ListQuery,
    read: (ledger: OrderLedger, filter: PageFilter) => Promise<T[]>,
    show: (row: T) => Record<string, unknown>,
    placeOf: (row: T) => ListPlace,
  ): Promise<Answer> => {
    const sinceMs = query.since === undefined ? clock.nowMs() - DAY_MS : Date.parse(query.since);
    if (Number.isNaN(sinceMs))
      throw new ApiRefusal(400, 'bad_request', 'since is no time; write it as 2013-10-08T13:30:00Z');
    const after = query.cursor === undefined ? undefined : parseCursor(query.cursor);
    if (query.cursor !== undefined && !after)
      throw new ApiRefusal(400, 'bad_cursor', 'cursor is no next_cursor of this list');
    const rows = await asked((ledger) => read(ledger, { ...query, sinceMs, after, limit: query.limit + 1 }));
    const shown = rows.slice(0, query.limit);
    const last = shown.at(-1);
    const next = rows.length > shown.length && last !== undefined ? cursorText(placeOf(last)) : null;
    return ok({ items: shown.map(show), next_cursor: next });
  };

  const get = (
    path: string,
    id: string,
    summary: string,
    answer: z.ZodType | undefined,
    handle: () => Promise<Answer>,
    more: Partial<ApiRoute> = {},
  ): ApiRoute => ({
    method: 'GET',
    path,
    id,
    summary,
    isMutation: false,
    query: schemas.noQuery,
    answer,
    handle,
    ...more,
  });

  const status = async () => {
    await refreshView();
    return ok(statusJson(board));
  };

  return [
    get('/healthz', 'healthz', 'Is the process alive', schemas.healthSchema, async () => ok({ status: 'ok', service: 'torghut' })),
    get('/readyz', 'readyz', 'May it trade now, and what keeps it from it', schemas.readySchema, async () => {
      const body = await health.ready();
      return { status: body.ready ? 200 : 503, body };
    }, { degraded: schemas.readySchema }),
    get('/db-check', 'dbCheck', 'The schema of the ledger against the expected one', schemas.databaseCheckSchema, async () => {
      const check = await ports.checkLedger().catch((error: unknown) => {
        throw new ApiRefusal(503, codeOf(error) ?? 'ledger_unreachable', describeError(error));
      });
      return { status: check.ok ? 200 : 503, body: checkJson(check) };
    }, { degraded: schemas.databaseCheckSchema }),
    get('/trading/health', 'tradingHealth', 'The dependencies, asked anew', schemas.tradingHealthSchema, async () => {
      const body = await health.trading();
      return { status: body.status === 'ok' ? 200 : 503, body };
    }, { degraded: schemas.tradingHealthSchema }),
    get('/trading/status', 'tradingStatus', 'Switches, cursor, decisions, orders, positions', schemas.statusSchema, status),
    get('/status', 'status', 'The same as /trading/status, where every daemon has it', schemas.statusSchema, status),
    {
      ...get('/trading/decisions', 'decisions', 'Decisions, newest first', schemas.decisionPage, notCalled),
      query: schemas.listQuery,
      handle: (query: schemas.ListQuery) =>
        page(
          query,
          (ledger, { symbol, status: wanted, strategy, sinceMs, after, limit }) =>
            ledger.read.decisions.list(
              defined({ accountLabel, symbol, status: wanted, strategyName: strategy, sinceMs, after, limit }),
            ),
          decisionJson,
          (row) => ({ atMs: row.decidedAtMs, id: row.decision.id }),
        ),
    },
    {
      ...get('/trading/executions', 'executions', 'Orders with their fills, newest first', schemas.executionPage, notCalled),
      query: schemas.listQuery,
      handle: (query: schemas.ListQuery) =>
        page(
          query,
          (ledger, { symbol, status: state, strategy, sinceMs, after, limit }) =>
            ledger.read.orders.executions(
              defined({ accountLabel, symbol, state, strategyName: strategy, sinceMs, after, limit }),
            ),
          executionJson,
          (row) => ({ atMs: row.listedAtMs, id: row.id }),
        ),
    },
    get('/trading/positions', 'positions', 'What the recorded fills say is held', schemas.positionsSchema, async () => {
      const [held, findings] = await asked((ledger) =>
        Promise.all([ledger.read.orders.positions(accountLabel), ledger.orderRead.findings.open(accountLabel)]),
      );
      const items = held.map(({ symbol, quantity, avgEntryPrice }) => ({
        symbol,
        qty: quantity.toFixed(),
        avg_entry_price: avgEntryPrice.toFixed(),
      }));
      const drift = findings.filter(({ kind }) => kind === 'position_drift').map(({ subject }) => subject);
      return ok({ account_label: accountLabel, items, drift });
    }),
    {
      ...get('/trading/pnl', 'pnl', 'Realised profit of a New York day by average cost', schemas.profitSchema, notCalled),
      query: schemas.profitQuery,
      handle: async ({ day }: { day?: string }) => ok(await profitOf(day)),
    },
    get('/trading/metrics', 'tradingMetrics', 'The counters as JSON', schemas.countersSchema, async () => {
      await refreshView();
      return ok(Object.fromEntries((await ports.metrics.getMetricsAsJSON()).map(({ name, values }) => [name, metricValue(values)])));
    }),
    get('/metrics', 'metrics', 'The counters for Prometheus', undefined, async () => {
      await refreshView();
      return { status: 200, body: await ports.metrics.metrics(), contentType: ports.metrics.contentType };
    }),
    get('/openapi.json', 'openapi', 'This document', schemas.countersSchema, async () => ok(document())),
    {
      ...get('/reconcile', 'reconcile', 'One reconcile pass now', schemas.passSchema, notCalled),
      method: 'POST',
      isMutation: true,
      query: schemas.reconcileQuery,
      handle: async ({ since_ms: sinceMs }: { since_ms?: number }) => {
        const desk = ports.desk();
        if (!desk) throw new ApiRefusal(409, 'not_leader', 'this process does not lead the account');
        try {
          return ok(await desk.reconcile(sinceMs));
        } catch (error) {
          throw new ApiRefusal(503, 'reconcile_failed', describeError(error));
        }
      },
    },
    {
      ...get('/drain', 'drain', 'No new decisions; cancel what is open and agree with the broker', schemas.drainSchema, notCalled),
      method: 'POST',
      isMutation: true,
      okStatus: 202,
      handle: async () => {
        ports.drain();
        return { status: 202, body: { draining: true, drained: board.drained } };
      },
    },
  ]; // biome-ignore format: a table of routes

  async function profitOf(wanted: string | undefined): Promise<Record<string, unknown>> {
    const day = wanted ?? newYorkTime(BigInt(clock.nowMs()) * NS_PER_MS).date;
    if (!/^\d{4}-\d{2}-\d{2}$/.test(day) || Number.isNaN(Date.parse(day))) {
      throw new ApiRefusal(400, 'bad_request', 'day is no day; write it as 2013-10-08');
    }
    const next = new Date(Date.parse(day) + DAY_MS).toISOString().slice(0, 10);
    const fromMs = Number(newYorkInstant(day, 0) / NS_PER_MS);
    const toMs = Number(newYorkInstant(next, 0) / NS_PER_MS);
    const [fills, equity] = await asked((ledger) =>
      Promise.all([
        ledger.profit.fillsBefore(accountLabel, toMs),
        ledger.profit.equityOver(accountLabel, fromMs, toMs),
      ]),
    );
    const profits = profitOver(fills, fromMs, toMs);
    const realized = profits.map((profit) => profit.realized).reduce((sum, one) => sum.plus(one), new Decimal(0));
    const { first, last } = equity;
    return {
      account_label: accountLabel,
      day,
      from: timeText(fromMs),
      to: timeText(toMs),
      realized: realized.toFixed(),
      equity: {
        first: first?.equity.toFixed() ?? null,
        last: last?.equity.toFixed() ?? null,
        delta: first && last ? last.equity.minus(first.equity).toFixed() : null,
      },
      items: profits.map((profit) => ({
        strategy: profit.strategy,
        symbol: profit.symbol,
        fills: profit.fills,
        bought: profit.bought.toFixed(),
        sold: profit.sold.toFixed(),
        realized: profit.realized.toFixed(),
        qty: profit.quantity.toFixed(),
        avg_entry_price: profit.averageEntryPrice?.toFixed() ?? null,
      })),
    };
  }
}

interface PageFilter {
  symbol?: string | undefined;
  status?: string | undefined;
  strategy?: string | undefined;
  sinceMs: number;
  after: ListPlace | undefined;
  limit: number;
}

/** For routes whose handler takes a query: `get` fills the rest. */
const notCalled = (): Promise<Answer> => Promise.reject(new Error('this handler was to be replaced'));

/** One value for a metric without labels, else one per label. */
function metricValue(values: readonly { value: number; labels?: object }[]): number | Record<string, number> {
  const [only] = values;
  if (values.length === 0) return {};
  if (values.length === 1 && only && Object.keys(only.labels ?? {}).length === 0) return only.value;
  return Object.fromEntries(values.map(({ value, labels }) => [Object.values(labels ?? {}).join(','), value]));
}

/** Counts as the ledger has them now; the last known ones while it is away. */
function viewRefresher({ board, ledger }: ApiPorts): () => Promise<void> {
  let viewedAt = Number.NEGATIVE_INFINITY;
  let viewing: Promise<void> | undefined;
  return async () => {
    const open = ledger();
    if (!open || machineMs() - viewedAt < VIEW_MS) return;
    viewing ??= readLedgerView(open, board.settings.accountLabel)
      .then((view) => {
        board.ledger = view;
        viewedAt = machineMs();
      })
      .catch(() => undefined)
      .finally(() => {
        viewing = undefined;
      });
    await viewing;
  };
}
