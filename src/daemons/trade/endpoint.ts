/**
 * The HTTP face of `torghut trade` (spec trading 7, first form): read-only but for POST /drain and
 * POST /reconcile, which are for this machine only.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { DecisionRow, ExecutionRow } from '../../lib/ledger/contract.ts';
import type { OrderLedger } from '../../lib/ledger/open.ts';
import type { OrderDesk } from '../../lib/orders/contract.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { describeError } from '../../lib/service/errors.ts';
import { type DaemonEndpoint, sendJson } from '../../lib/service/http.ts';
import { machineMs } from '../../lib/service/machine.ts';
import { tradeMetrics } from './metrics.ts';
import { readinessJson, readLedgerView, type StatusBoard, statusJson } from './status.ts';

export interface EndpointOptions {
  board: StatusBoard;
  clock: Clock;
  /** The ledger of the present session; undefined between two. */
  ledger(): OrderLedger | undefined;
  /** The order desk of the present session; undefined while this process does not lead. */
  desk(): OrderDesk | undefined;
  drain(): void;
}

/** Machine ms that counts of the ledger are shown before they are read anew. */
const VIEW_MS = 200;
const DAY_MS = 86_400_000;

const filterSchema = z.strictObject({
  symbol: z.string().max(32).optional(),
  status: z.string().max(32).optional(),
  strategy: z.string().max(255).optional(),
  since: z.iso.datetime({ offset: true }).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});

const sinceSchema = z.coerce.number().int().min(0).optional();

export function tradeEndpoint(options: EndpointOptions): DaemonEndpoint {
  const { board } = options;
  let viewedAt = Number.NEGATIVE_INFINITY;
  let viewing: Promise<void> | undefined;

  /** Counts as the ledger has them now; the last known ones while it is away. */
  const refreshView = async () => {
    const ledger = options.ledger();
    if (!ledger || machineMs() - viewedAt < VIEW_MS) return;
    viewing ??= readLedgerView(ledger, board.settings.accountLabel)
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

  const status = async (_request: IncomingMessage, response: ServerResponse) => {
    await refreshView();
    sendJson(response, 200, statusJson(board));
  };

  const list = async (
    response: ServerResponse,
    url: URL,
    read: (ledger: OrderLedger, filter: z.infer<typeof filterSchema>, sinceMs: number) => Promise<unknown[]>,
  ) => {
    const parsed = filterSchema.safeParse(Object.fromEntries(url.searchParams));
    if (!parsed.success) {
      return sendJson(response, 400, { error: { code: 'bad_request', message: z.prettifyError(parsed.error) } });
    }
    const ledger = options.ledger();
    if (!ledger) {
      return sendJson(response, 503, { error: { code: 'ledger_unreachable', message: 'the ledger is not connected' } });
    }
    const { since } = parsed.data;
    const sinceMs = since === undefined ? options.clock.nowMs() - DAY_MS : Date.parse(since);
    try {
      sendJson(response, 200, { items: await read(ledger, parsed.data, sinceMs) });
    } catch (error) {
      sendJson(response, 503, { error: { code: 'ledger_unreachable', message: describeError(error) } });
    }
  };

  /** One pass now, for `torghut trade reconcile`: it sends no order that this loop would not have sent anyway. */
  const reconcile = async (request: IncomingMessage, response: ServerResponse, url: URL) => {
    if (!isLoopback(request)) return refuseRemote(response);
    const since = sinceSchema.safeParse(url.searchParams.get('since_ms') ?? undefined);
    if (!since.success) {
      return sendJson(response, 400, { error: { code: 'bad_request', message: 'since_ms is no time' } });
    }
    const desk = options.desk();
    if (!desk) return sendJson(response, 409, { error: { code: 'not_leader', message: 'this process does not lead' } });
    try {
      sendJson(response, 200, await desk.reconcile(since.data));
    } catch (error) {
      sendJson(response, 503, { error: { code: 'reconcile_failed', message: describeError(error) } });
    }
  };

  return {
    isAlive: () => true,
    readiness: () => readinessJson(board),
    status: () => statusJson(board),
    metrics: tradeMetrics(board),
    routes: {
      'GET /status': status,
      'GET /trading/status': status,
      'GET /trading/decisions': (_request, response, url) =>
        list(response, url, async (ledger, { symbol, status: wanted, strategy, limit }, sinceMs) => {
          const filter = { accountLabel: board.settings.accountLabel, sinceMs, limit };
          const rows = await ledger.read.decisions.list({
            ...filter,
            ...(symbol === undefined ? {} : { symbol }),
            ...(wanted === undefined ? {} : { status: wanted }),
            ...(strategy === undefined ? {} : { strategyName: strategy }),
          });
          return rows.map(decisionJson);
        }),
      'GET /trading/executions': (_request, response, url) =>
        list(response, url, async (ledger, { symbol, status: state, limit }, sinceMs) => {
          const rows = await ledger.read.orders.executions({
            accountLabel: board.settings.accountLabel,
            sinceMs,
            limit,
            ...(symbol === undefined ? {} : { symbol }),
            ...(state === undefined ? {} : { state }),
          });
          return rows.map(executionJson);
        }),
      'POST /reconcile': (request, response, url) => reconcile(request, response, url),
      'POST /drain': (request, response) => {
        if (!isLoopback(request)) return refuseRemote(response);
        options.drain();
        sendJson(response, 202, { draining: true, drained: board.drained });
      },
    },
  };
}

const isLoopback = (request: IncomingMessage): boolean =>
  /^(::ffff:)?127\.|^::1$/.test(request.socket.remoteAddress ?? '');

function refuseRemote(response: ServerResponse): void {
  sendJson(response, 403, { error: { code: 'loopback_only', message: 'this is for this machine only' } });
}

const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());

function decisionJson({ decision, ...row }: DecisionRow): Record<string, unknown> {
  return {
    id: decision.id,
    strategy: decision.strategyName,
    symbol: decision.symbol,
    timeframe: decision.timeframe,
    event_ts: time(decision.eventTsMs),
    decided_at: time(row.decidedAtMs),
    action: decision.action,
    intent: decision.intent,
    qty: decision.quantity.toFixed(),
    price: decision.price?.toFixed() ?? null,
    status: row.status,
    reasons: row.reasons,
    reject_origin: row.rejectOrigin ?? null,
    executed_at: time(row.executedAtMs),
    rationale: decision.rationale,
    signal: {
      run_id: decision.signal.runId,
      window_size: decision.signal.windowSize,
      revision: decision.signal.revision,
      src_partition: decision.signal.sourcePartition,
      src_offset: decision.signal.sourceOffset.toString(),
    },
    decision_hash: decision.hash,
  };
}

function executionJson(row: ExecutionRow): Record<string, unknown> {
  return {
    id: row.id,
    decision_id: row.decisionId ?? null,
    alpaca_order_id: row.brokerOrderId,
    client_order_id: row.clientOrderId,
    symbol: row.symbol,
    side: row.side,
    order_type: row.orderType,
    qty: row.submittedQty.toFixed(),
    filled_qty: row.filledQty.toFixed(),
    avg_fill_price: row.avgFillPrice?.toFixed() ?? null,
    state: row.state,
    broker_status: row.brokerStatus,
    is_final: row.isFinal,
    is_late_accepted: row.isLateAccepted,
    is_orphan: row.isOrphan,
    submitted_at: time(row.submittedAtMs),
    filled_at: time(row.filledAtMs),
    canceled_at: time(row.canceledAtMs),
  };
}
