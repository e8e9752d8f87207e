/**
 * What the signal store holds between two instants: rows, distinct seconds, null rates and revisions per symbol and window
 * size, and the stretches of the regular session without a row.
 * Decided: only current rows count (one per key, the newest revision); a stretch is the time between the end of one window and
 * the start of the next, or the bounds of the session; half-open [from, to) by the windows' time. A second without a trade
 * has no bar, so a quiet symbol has stretches too: the limit decides which of them count.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import { newYorkTime, tradingDays } from '../market/calendar.ts';
import { usageError } from '../service/errors.ts';
import { checkedName } from './schema.ts';
import { microbars, signals, type Table } from './tables.ts';

export interface CoverageQuestion {
  database: string;
  /** Market ns. */
  fromNs: bigint;
  toNs: bigint;
  /** Market now, ns: a session that is not over is judged up to here. */
  nowNs: bigint;
  /** A stretch without a row counts from more than so many seconds on. */
  gapSeconds: number;
  /** Only these; one without any row is a gap of its own. Undefined: whatever is stored. */
  symbols: readonly string[] | undefined;
}

export interface CoverageRow {
  table: string;
  symbol: string;
  window_size: string;
  rows: number;
  distinct_seconds: number;
  /** RFC 3339; null without rows. */
  first: string | null;
  last: string | null;
  gaps: number;
  longest_gap_seconds: number;
  /** Keys that a later revision replaced, and the highest revision. */
  revised: number;
  max_revision: number;
  /** Share of rows without a value, only columns that may have none and have at least one. */
  null_rates: Record<string, number>;
}

export interface CoverageGap {
  table: string;
  symbol: string;
  window_size: string;
  /** RFC 3339. */
  from: string;
  to: string;
  seconds: number;
}

export interface CoverageReport {
  from: string;
  to: string;
  gap_seconds: number;
  /** New York dates of the sessions that were judged. */
  sessions: string[];
  rows: CoverageRow[];
  /** Longest first. */
  gaps: CoverageGap[];
}

const maxGaps = 100_000;
const count = z.coerce.number();
const summarySchema = z.looseObject({
  symbol: z.string(),
  window_size: z.string(),
  rows: count,
  seconds: count,
  first_ms: count,
  last_ms: count,
  revised: count,
  max_revision: count,
  nulls: z.array(count),
});
const gapSchema = z.object({
  symbol: z.string(),
  window_size: z.string(),
  session: count,
  from_ms: count,
  to_ms: count,
});
const lastSchema = z.object({ symbol: z.string(), window_size: z.string(), session: count, last_ms: count });

interface Session {
  date: string;
  openMs: number;
  closeMs: number;
}

/** @throws `coverage_range` (exit 2), errors of the client as they are */
export async function readCoverage(client: ClickHouseClient, question: CoverageQuestion): Promise<CoverageReport> {
  const database = checkedName(question.database);
  const { fromNs, toNs, gapSeconds } = question;
  if (toNs <= fromNs || toNs - fromNs > 400n * 86_400_000_000_000n) {
    throw usageError({
      code: 'coverage_range',
      what: '--from and --to make no range of at most 400 days',
      next: 'give --from before --to, for example --from 2013-10-08 --to 2013-10-08',
    });
  }
  const sessions = sessionsOf(question);
  const rows: CoverageRow[] = [];
  const gaps: CoverageGap[] = [];
  for (const table of [microbars, signals]) {
    const found = await coverageOf(client, { ...question, database }, table, sessions);
    rows.push(...found.rows);
    gaps.push(...found.gaps);
  }
  gaps.sort((a, b) => b.seconds - a.seconds || (a.from < b.from ? -1 : 1));
  return {
    from: instant(Number(fromNs / 1_000_000n)),
    to: instant(Number(toNs / 1_000_000n)),
    gap_seconds: gapSeconds,
    sessions: sessions.map(({ date }) => date),
    rows,
    gaps,
  };
}

const instant = (ms: number): string => new Date(ms).toISOString();

/** The parts of regular sessions inside the range and not after now. */
function sessionsOf({ fromNs, toNs, nowNs }: CoverageQuestion): Session[] {
  const endNs = toNs < nowNs ? toNs : nowNs;
  return tradingDays(newYorkTime(fromNs).date, newYorkTime(toNs).date)
    .map(({ date, openNs, closeNs }) => ({
      date,
      openMs: Number((openNs > fromNs ? openNs : fromNs) / 1_000_000n),
      closeMs: Number((closeNs < endNs ? closeNs : endNs) / 1_000_000n),
    }))
    .filter(({ openMs, closeMs }) => closeMs > openMs);
}

const stepSql = "if(window_size = 'PT1M', 60000, 1000)";

async function coverageOf(
  client: ClickHouseClient,
  question: CoverageQuestion,
  table: Table,
  sessions: readonly Session[],
): Promise<{ rows: CoverageRow[]; gaps: CoverageGap[] }> {
  const { fromNs, toNs, gapSeconds, symbols } = question;
  const nullable = table.columns.filter(({ type }) => type.startsWith('Nullable(')).map(({ name }) => name);
  const name = `${question.database}.${table.name}`;
  const parameters = {
    from: (fromNs / 1_000_000n).toString(),
    to: (toNs / 1_000_000n).toString(),
    symbols: symbols ?? [],
    days: sessions.map(({ date }) => date),
    opens: sessions.map(({ openMs }) => openMs),
    closes: sessions.map(({ closeMs }) => closeMs),
    limit: gapSeconds * 1000,
  };
  const ask = async <T>(schema: z.ZodType<T>, query: string): Promise<T[]> => {
    const result = await client.query({ query, query_params: parameters, format: 'JSONEachRow' });
    return z.array(schema).parse(await result.json());
  };
  // event_ts is the window's end: a window belongs to the range when it ends in (from, to].
  const range = `event_ts > fromUnixTimestamp64Milli({from:Int64}, 'UTC') AND event_ts <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')
  AND (empty({symbols:Array(String)}) OR has({symbols:Array(String)}, symbol))`;
  const summaries = await ask(
    summarySchema,
    `SELECT symbol, window_size, count() AS rows, uniqExact(toUnixTimestamp(event_ts)) AS seconds,
  toUnixTimestamp64Milli(min(event_ts)) AS first_ms, toUnixTimestamp64Milli(max(event_ts)) AS last_ms,
  countIf(revision > 0) AS revised, max(revision) AS max_revision,
  [${nullable.map((column) => `countIf(isNull(${column}))`).join(', ')}] AS nulls
FROM ${name} FINAL WHERE ${range} GROUP BY symbol, window_size ORDER BY symbol, window_size`,
  );
  // A regular session lies inside one UTC day, so the day names the session. No FINAL: distinct times are enough.
  const inSessions = `SELECT symbol, window_size, ms, indexOf({days:Array(Date)}, day) AS session,
    {opens:Array(Int64)}[session] AS open_ms, {closes:Array(Int64)}[session] AS close_ms
  FROM (SELECT DISTINCT symbol, window_size, toUnixTimestamp64Milli(event_ts) AS ms, toDate(event_ts) AS day FROM ${name} WHERE ${range})
  WHERE session > 0 AND ms > open_ms AND ms <= close_ms`;
  const between = await ask(
    gapSchema,
    `SELECT symbol, window_size, session, from_ms, to_ms FROM (
  SELECT symbol, window_size, session, ms - ${stepSql} AS to_ms, lagInFrame(ms, 1, 0) OVER w AS previous,
    if(previous = 0, open_ms, previous) AS from_ms
  FROM (${inSessions})
  WINDOW w AS (PARTITION BY symbol, window_size, session ORDER BY ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) WHERE to_ms - from_ms > {limit:Int64} LIMIT ${maxGaps + 1}`,
  );
  const lasts = await ask(
    lastSchema,
    `SELECT symbol, window_size, session, max(ms) AS last_ms FROM (${inSessions}) GROUP BY symbol, window_size, session`,
  );
  if (between.length > maxGaps) {
    throw usageError({
      code: 'coverage_too_many_gaps',
      what: `over ${maxGaps} stretches without a row`,
      next: 'narrow the range, or raise --gap',
    });
  }
  const keys = summaries.map(({ symbol, window_size }) => ({ symbol, window_size }));
  for (const symbol of symbols ?? []) {
    if (!keys.some((key) => key.symbol === symbol)) keys.push({ symbol, window_size: 'PT1S' });
  }
  const gaps: CoverageGap[] = [];
  const add = (symbol: string, window_size: string, fromMs: number, toMs: number) => {
    if (toMs - fromMs <= gapSeconds * 1000) return;
    const seconds = (toMs - fromMs) / 1000;
    gaps.push({ table: table.name, symbol, window_size, from: instant(fromMs), to: instant(toMs), seconds });
  };
  for (const gap of between) add(gap.symbol, gap.window_size, gap.from_ms, gap.to_ms);
  const lastOf = new Map(lasts.map((row) => [`${row.symbol} ${row.window_size} ${row.session}`, row.last_ms]));
  for (const { symbol, window_size } of keys) {
    sessions.forEach(({ openMs, closeMs }, i) => {
      const last = lastOf.get(`${symbol} ${window_size} ${i + 1}`);
      add(symbol, window_size, last ?? openMs, closeMs);
    });
  }
  const rows = keys.map(({ symbol, window_size }): CoverageRow => {
    const summary = summaries.find((row) => row.symbol === symbol && row.window_size === window_size);
    const own = gaps.filter((gap) => gap.symbol === symbol && gap.window_size === window_size);
    const nulls = nullable.flatMap((column, i): [string, number][] => {
      const missing = summary?.nulls[i] ?? 0;
      return missing === 0 ? [] : [[column, Math.round((missing / (summary?.rows ?? 1)) * 10_000) / 10_000]];
    });
    return {
      table: table.name,
      symbol,
      window_size,
      rows: summary?.rows ?? 0,
      distinct_seconds: summary?.seconds ?? 0,
      first: summary ? instant(summary.first_ms) : null,
      last: summary ? instant(summary.last_ms) : null,
      gaps: own.length,
      longest_gap_seconds: Math.max(0, ...own.map(({ seconds }) => seconds)),
      revised: summary?.revised ?? 0,
      max_revision: summary?.max_revision ?? 0,
      null_rates: Object.fromEntries(nulls),
    };
  });
  return { rows, gaps };
}
