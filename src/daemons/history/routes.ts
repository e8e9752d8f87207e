/** The routes of the history API (spec ta 9). Each answers with what was asked, bounded; the errors are the server's. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HistoryList, HistoryRows, LedgerHistory } from '../../lib/ledger/history.ts';
import { realizedOver } from '../../lib/ledger/realized.ts';
import { usageError } from '../../lib/service/errors.ts';
import { sendJson } from '../../lib/service/http.ts';
import type { HistoryPage, HistoryRange, SignalHistory } from '../../lib/signals/history.ts';
import { dayRange, parameters, parse, rangeOf, timeText } from './parameters.ts';

export interface HistoryPorts {
  signals: SignalHistory;
  /** The ledger as it can be reached now. @throws when it cannot */
  ledger(): Promise<LedgerHistory>;
}

type Answer = Record<string, unknown>;
type Route = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>;

const maxDays = 92;
const dayMs = 86_400_000;

export function historyRoutes(ports: HistoryPorts): Record<string, Route> {
  const { signals } = ports;
  const pageOf = async (url: URL, read: (range: HistoryRange) => Promise<HistoryPage>): Promise<Answer> => {
    const range = rangeOf(parse(parameters.range, url));
    const { items, nextAfterMs } = await read(range);
    return {
      ok: true,
      symbol: range.symbol,
      window: range.window,
      from: timeText(range.fromMs),
      to: timeText(range.toMs),
      items,
      next_cursor: nextAfterMs === null ? null : String(nextAfterMs),
    };
  };
  const listOf = async (
    url: URL,
    read: (ledger: LedgerHistory, list: HistoryList) => Promise<HistoryRows>,
    name: (row: Record<string, unknown>) => Answer,
  ): Promise<Answer> => {
    const { day, tz, status, strategyId, limit, cursor } = parse(parameters.list, url);
    const range = dayRange(day);
    const found = await read(await ports.ledger(), { ...range, status, strategyId, limit, after: cursor });
    return {
      ...shown(day, tz, range),
      items: found.items.map(({ at, ...row }) => name({ at: at.toISOString(), ...row })),
      next_cursor: found.next === null ? null : `${found.next.atMs}_${found.next.id}`,
    };
  };
  const get =
    (answer: (url: URL) => Promise<Answer>): Route =>
    async (_request, response, url) =>
      sendJson(response, 200, await answer(url));

  return {
    'GET /api/torghut/symbols': get(async (url) => {
      const { assetClass, view } = parse(parameters.symbols, url);
      const found = await signals.symbols();
      const items = found.filter(({ symbol }) => symbol.includes('/') === (assetClass === 'crypto'));
      if (view === 'compact') return { symbols: items.map(({ symbol }) => symbol) };
      // Which symbols are forwarded is the forwarder's to say; here: those that have rows.
      return { items: items.map((item) => ({ ...item, enabled: true })) };
    }),
    'GET /api/torghut/ta/latest': get(async (url) => {
      const { symbol, window } = parse(parameters.latest, url);
      return { ok: true, symbol, ...(await signals.latest(symbol, window)) };
    }),
    'GET /api/torghut/ta/bars': get((url) => pageOf(url, signals.bars)),
    'GET /api/torghut/ta/signals': get((url) => pageOf(url, signals.signals)),
    'GET /api/torghut/trading/strategies': get(async () => ({
      ok: true,
      items: await (await ports.ledger()).strategies(),
    })),
    'GET /api/torghut/trading/decisions': get((url) =>
      listOf(
        url,
        (ledger, list) => ledger.decisions(list),
        ({ at, ...row }) => ({ decided_at: at, ...row }),
      ),
    ),
    'GET /api/torghut/trading/executions': get((url) =>
      listOf(
        url,
        (ledger, list) => ledger.executions(list),
        ({ at, ...row }) => ({ filled_at: at, ...row }),
      ),
    ),
    'GET /api/torghut/trading/summary': get(async (url) => {
      const { day, tz, strategyId } = parse(parameters.summary, url);
      const range = dayRange(day);
      return { ...shown(day, tz, range), ...(await summaryOf(await ports.ledger(), range, strategyId)) };
    }),
    'GET /api/torghut/trading/days': get(async (url) => {
      const { start, end, tz, strategyId } = parse(parameters.days, url);
      const days = daysBetween(start, end);
      const ledger = await ports.ledger();
      const items: Answer[] = [];
      for (const day of days) {
        const range = dayRange(day);
        const { series: _series, ...summary } = await summaryOf(ledger, range, strategyId);
        items.push({ ...shown(day, tz, range), ...summary });
      }
      return { ok: true, items };
    }),
  };
}

const shown = (day: string, tz: string, { fromMs, toMs }: { fromMs: number; toMs: number }): Answer => ({
  ok: true,
  day,
  tz,
  from: timeText(fromMs),
  to: timeText(toMs),
});

/** @throws `parameter_invalid` (400) */
function daysBetween(start: string, end: string): string[] {
  const [from, to] = [Date.parse(`${start}T00:00:00Z`), Date.parse(`${end}T00:00:00Z`)];
  const count = (to - from) / dayMs + 1;
  if (count >= 1 && count <= maxDays) {
    return Array.from({ length: count }, (_, i) => timeText(from + i * dayMs).slice(0, 10));
  }
  throw usageError({
    code: 'parameter_invalid',
    what: `start and end make no range of at most ${maxDays} days`,
    next: 'give start at or before end',
  });
}

async function summaryOf(
  ledger: LedgerHistory,
  { fromMs, toMs }: { fromMs: number; toMs: number },
  strategyId: string | undefined,
): Promise<Answer> {
  const [fills, equity, refusals, filled] = await Promise.all([
    ledger.fillsBefore(toMs, strategyId),
    ledger.equityOver(fromMs, toMs),
    ledger.refusals(fromMs, toMs, strategyId),
    ledger.filled(fromMs, toMs, strategyId),
  ]);
  const realized = realizedOver(fills, fromMs, toMs);
  const closed = realized.wins + realized.losses;
  return {
    realized_pnl: realized.total.toFixed(),
    filled_count: filled,
    rejected_count: refusals.reduce((sum, { count }) => sum + count, 0),
    top_reasons: refusals.slice(0, 5),
    win_rate: closed === 0 ? null : realized.wins / closed,
    equity_delta: equity.first && equity.last ? equity.last.equity.minus(equity.first.equity).toFixed() : null,
    anomalies: realized.anomalies.map(({ atMs, excess, ...rest }) => ({
      kind: 'sell_beyond_position',
      at: timeText(atMs),
      ...rest,
      excess: excess.toFixed(),
    })),
    series: realized.points.map(({ atMs, total, gain, ...rest }) => ({
      at: timeText(atMs),
      ...rest,
      gain: gain.toFixed(),
      realized_pnl: total.toFixed(),
    })),
  };
}
