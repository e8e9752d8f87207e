/**
 * The summary of a run: what was sent, published, stored, decided and ordered, and whether the books agree. Counts come from
 * the stores themselves, not from what the daemons say of themselves.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import pg from 'pg';
import { z } from 'zod';
import { openLedger, openSignalStore } from '../../embedded/connect.ts';
import { findService } from '../../lib/service/home.ts';
import { compareBooks, countOrders, readBrokerBook } from './books.ts';
import { type RunFile, writeRunFile } from './run-file.ts';
import type { Snapshot } from './watch.ts';

export interface SummaryInput {
  home: string;
  run: RunFile;
  snapshot: Snapshot;
  problems: string[];
  wallSeconds: number;
  virtualSeconds: number;
}

/** Connects to the signal store of the home, as configured or embedded, for one piece of work. */
export async function withSignalStore<T>(home: string, use: (client: ClickHouseClient) => Promise<T>): Promise<T> {
  const store = await openSignalStore({ home, env: {} });
  try {
    return await use(store.client);
  } finally {
    await store.close();
  }
}

const barsRow = z.object({ rows: z.coerce.number(), trades: z.coerce.number(), volume: z.coerce.number() });
const latencyRow = z.object({ p50: z.number().nullable(), p99: z.number().nullable() });
const countRow = z.object({ n: z.coerce.number() });

async function storeCounts(client: ClickHouseClient) {
  const one = async <T>(query: string, schema: z.ZodType<T>): Promise<T> => {
    const result = await client.query({ query, format: 'JSONEachRow' });
    return schema.parse(((await result.json()) as unknown[])[0]);
  };
  return {
    microBars: await one(
      "SELECT count() AS rows, sum(count) AS trades, sum(v) AS volume FROM ta_microbars FINAL WHERE window_size = 'PT1S'",
      barsRow,
    ),
    signals: (await one('SELECT count() AS n FROM ta_signals FINAL', countRow)).n,
    // Market ms from a window's end to the row being stored, over every bar of the run.
    latency: await one(
      `SELECT quantileExact(0.5)(ms) AS p50, quantileExact(0.99)(ms) AS p99 FROM
       (SELECT toFloat64(dateDiff('millisecond', event_ts, stored_at)) AS ms FROM ta_microbars FINAL WHERE revision = 0)`,
      latencyRow,
    ),
  };
}

async function ledgerCounts(client: pg.ClientBase) {
  const count = async (sql: string) => Number((await client.query<{ n: string }>(sql)).rows[0]?.n ?? 0);
  const reasons = await client.query<{ code: string; n: string }>(
    `SELECT code, count(*) AS n FROM trade_decisions, unnest(reasons) AS code WHERE status IN ('rejected', 'blocked')
     GROUP BY code ORDER BY code`,
  );
  return {
    decisions: await count('SELECT count(*) AS n FROM trade_decisions'),
    submitted: await count("SELECT count(*) AS n FROM order_claims WHERE state = 'submitted'"),
    open: await count("SELECT count(*) AS n FROM trade_decisions WHERE status = 'planned'"),
    executions: await count('SELECT count(*) AS n FROM executions'),
    rejected: Object.fromEntries(reasons.rows.map(({ code, n }) => [code, Number(n)])),
  };
}

/** Gathers the summary, writes it into run.json and returns it. */
export async function writeSummary(input: SummaryInput): Promise<Record<string, unknown>> {
  const { home, run, snapshot } = input;
  const problems = [...input.problems];
  const { simulator, ws } = snapshot;
  const store = await withSignalStore(home, storeCounts);
  const ledger = await openLedger({ home, env: {} });
  const client = new pg.Client({ connectionString: ledger.dsn, application_name: 'torghut-up-summary' });
  await client.connect();
  try {
    const counts = await ledgerCounts(client);
    const simulatorUrl = findService(home, 'simulator')?.url;
    const book = simulatorUrl === undefined ? undefined : await readBrokerBook(simulatorUrl);
    if (book) problems.push(...(await compareBooks(book, client)));
    if (counts.open > 0) problems.push(`${counts.open} decisions are still open`);
    problems.push(...uncountedTrades(store.microBars.trades, snapshot));
    const summary = {
      run_id: run.run_id,
      input: pick(simulator?.input, ['trades', 'quotes', 'bars']),
      published: { ...ws?.acknowledged },
      micro_bars: store.microBars,
      signals: store.signals,
      decisions: { planned: counts.decisions, rejected: counts.rejected, submitted: counts.submitted },
      orders: book ? countOrders(book) : {},
      ledger: { decisions: counts.decisions, executions: counts.executions },
      broker: { orders: book?.orders.size ?? 0 },
      latency_ms: { trade_to_row_p50: store.latency.p50, trade_to_row_p99: store.latency.p99 },
      wall_seconds: round(input.wallSeconds),
      virtual_seconds: round(input.virtualSeconds),
      speed_reached: round(input.virtualSeconds / Math.max(input.wallSeconds, 0.001)),
      restarts: run.restarts,
      ok: problems.length === 0,
      problems,
    };
    run.finished = summary;
    writeRunFile(home, run);
    return summary;
  } finally {
    await client.end();
    await ledger.close();
  }
}

/**
 * Every trade that was sent is counted in a stored bar, but for those that a cancel took out again, those of seconds before a
 * symbol had any price, and those beyond the lateness; each of these is counted by its own counter.
 */
function uncountedTrades(stored: number, { simulator, ta }: Snapshot): string[] {
  const sent = simulator?.input.trades ?? 0;
  const missing = sent - stored - (ta?.trades_without_price ?? 0);
  const excused = (simulator?.input.cancels ?? 0) + (ta?.late ?? 0);
  if (missing >= 0 && missing <= excused) return [];
  return [
    `${sent} trades were sent, the stored bars count ${stored}; ${excused} may be missing by cancels and lateness`,
  ];
}

function pick(values: Record<string, number> | undefined, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, values?.[name] ?? 0]));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
