/**
 * The trading side of the simulator: an Alpaca-compatible broker on the released tape.
 * Guarantees: what was answered or sent survives kill -9; the same tape and requests give the same ids and fills; it knows
 * of the market only what the tape has released.
 */
import type { ServerResponse } from 'node:http';
import { describeError } from '../../lib/service/errors.ts';
import type { RouteDescription, TradingSide, TradingSideOptions } from '../contract.ts';
import { AssetList } from './assets.ts';
import { Broker } from './broker.ts';
import { BrokerError } from './broker-error.ts';
import { BrokerState } from './broker-state.ts';
import { MatchingEngine } from './engine.ts';
import { type Journal, openJournal } from './journal.ts';
import { OrderLog } from './order-log.ts';
import { countParameter } from './order-queries.ts';
import { RateLimit } from './rate-limit.ts';
import { RestServer } from './rest-server.ts';
import { tradingRoutes } from './routes.ts';
import type { TradingSettings } from './settings.ts';
import { UpdateStream } from './update-stream.ts';
import { loadTradingSettings } from './variables.ts';

/** How often market time is looked at without an event: sessions end and late fills come due also on a silent tape. */
const TICK_MS = 20;
const JOURNAL_PAGE = 1000;

const faultNames: Record<string, string> = {
  http_429: 'trading REST answers 429 instead of acting; parameters method, path',
  http_5xx_before: 'trading REST answers 500 (status) before acting; parameters status, method, path',
  http_5xx_after: 'trading REST acts, then answers 504 (status); parameters status, method, path',
  post_timeout_after: 'trading REST acts and never answers; parameters method, path',
  slow: 'trading REST waits delay_ms (1000) machine ms before acting, or after it with when=after; parameters delay_ms, when, method, path',
  html_error: 'trading REST answers an HTML page with status 502; parameters status, method, path',
  updates_delay: 'trade_updates holds an event ms (1000) machine ms; parameters ms, event, symbol',
  updates_duplicate: 'trade_updates sends an event copies (2) times; parameters copies, event, symbol',
  updates_drop: 'trade_updates loses an event; parameters event, symbol',
  late_fill: 'a cancel loses: the order fills ms (50) market ms after the request; parameters ms, symbol',
};

export type { TradingSettings };

/**
 * @param options settings given there win over the environment
 * @throws `journal_damaged` (exit 1), `config_invalid` (exit 2)
 */
export async function createTradingSide(
  options: TradingSideOptions & { settings?: Partial<TradingSettings> },
): Promise<TradingSide> {
  const settings = { ...loadTradingSettings(process.env), ...options.settings };
  const { tape, faults, keys, log: logger } = options;
  // The market side has faults of the same name (slow, http_429): one strike list, both descriptions.
  const known = new Map(faults.known().map((fault) => [fault.name, fault.describe]));
  for (const [name, describe] of Object.entries(faultNames)) {
    const other = known.get(name);
    faults.declare(name, other === undefined ? describe : `${other}; ${describe}`);
  }
  const state = new BrokerState();
  const journal = openJournal(options.directory, (entry) => state.apply(entry));
  const log = new OrderLog(state, journal);
  if (journal.last === 0) {
    const start = { seed: settings.seed, cash: settings.cash, multiplier: settings.multiplier };
    log.append('started', tape.nowNs(), { version: 1, start });
  }
  const assets = new AssetList([...tape.symbols(), ...settings.extraSymbols], new Set(settings.notShortable));
  const engine = new MatchingEngine({ tape, log, assets });
  const broker = new Broker(engine, log);
  const stream = new UpdateStream(keys, faults);
  const unsubscribe = log.subscribe((update) => stream.publish(update));
  // A journal that cannot be written stops the market here, never the tape; what it cut in two is finished when it can be.
  let isBehind = false;
  const guarded = (act: () => void) => {
    try {
      if (isBehind) engine.resume();
      isBehind = false;
      act();
    } catch (error) {
      if (!isBehind) logger.error({ err: describeError(error) }, 'the broker stands still');
      isBehind = true;
    }
  };
  const stopListening = tape.onEvent((event) => guarded(() => engine.onEvent(event)));
  engine.resume();
  const rest = new RestServer({ broker, log, faults, keys, limit: new RateLimit(settings.requestsPerMinute), logger });
  const ticker = setInterval(() => guarded(() => void engine.settle()), TICK_MS);
  ticker.unref();
  return {
    handleHttp: async (request, response, url) => {
      if (request.method === 'GET' && url.pathname === '/_sim/journal') {
        sendJournal(journal, response, url.searchParams);
        return true;
      }
      return rest.handle(request, response, url);
    },
    handleStream: (socket, request) => stream.open(socket, request),
    routes: () => allRoutes,
    status: () => ({
      orders: state.orders.size,
      open_orders: state.allOpenOrders().length,
      fills: state.activities.length,
      posts_received: state.requests,
      journal_entries: journal.last,
      stands_still: isBehind,
      update_connections: stream.connections,
      updates_sent: stream.sent,
    }),
    close: async () => {
      clearInterval(ticker);
      stopListening();
      unsubscribe();
      stream.close();
      journal.close();
    },
  };
}

const allRoutes: readonly RouteDescription[] = [
  ...tradingRoutes.map(({ method, path, describe }) => ({ method, path, describe })),
  { method: 'GET', path: '/_sim/journal', describe: "the broker's journal: after, limit, format=ndjson" },
];

/** GET /_sim/journal?after=SEQ&limit=N[&format=ndjson]: entries in order; `next` is the `after` of the following page. */
function sendJournal(journal: Journal, response: ServerResponse, query: URLSearchParams): void {
  try {
    const limit = countParameter(query, 'limit', JOURNAL_PAGE, JOURNAL_PAGE * 10);
    const after = Number(query.get('after') ?? 0);
    if (!Number.isInteger(after) || after < 0) throw new BrokerError(422, 40010001, 'invalid after');
    const entries = journal.read(after, limit);
    if (query.get('format') === 'ndjson') {
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.end(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
      return;
    }
    const newest = entries.at(-1)?.seq ?? after;
    const body = { entries, last: journal.last, next: newest < journal.last ? newest : null };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    response.writeHead(error.status, { 'content-type': 'application/json' }).end(JSON.stringify(error.body()));
  }
}
