/**
 * The signal store, two questions.
 * 1. Rows per second through the sink (event log → rows → three tables) against the bare client with NDJSON that was joined
 *    before, into the same tables with the same batches, alternating in one run.
 * 2. Latency of the loop's two queries (the signal log behind a cursor, newest prices) over 35 days × 12 symbols of 1-second
 *    bars and signals, about 10 million rows of each, generated, while the sink's inserts go on.
 *   node bench/clickhouse.ts [--rounds 3] [--days 35] [--queries 300] [--part throughput|latency]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { Sink } from '../src/daemons/sink/sink.ts';
import { type SignalStoreSource, signalStoreSource } from '../src/embedded/connect.ts';
import { openEventLog } from '../src/lib/log/open.ts';
import type { EventLog } from '../src/lib/log/port.ts';
import { topicSpec } from '../src/lib/log/topics.ts';
import { openClock } from '../src/lib/service/clock.ts';
import { createLogger } from '../src/lib/service/logging.ts';
import { createSignalReader } from '../src/lib/signals/reader.ts';
import { rowOfRecord, timeText } from '../src/lib/signals/rows.ts';
import { migrateSignalStore } from '../src/lib/signals/schema.ts';
import { microbars, signalLog, signals } from '../src/lib/signals/tables.ts';
import { createSignalWriter, orderedPieces } from '../src/lib/signals/writer.ts';
import { bar, barsTopic, logRecord, recordText, signal, signalsTopic } from '../test/signals/records.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    days: { type: 'string', default: '35' },
    queries: { type: 'string', default: '300' },
    part: { type: 'string' },
  },
});
const batchRows = 5_000;
const symbols = Array.from({ length: 12 }, (_, i) => `S${String(i).padStart(2, '0')}`);
const partitionOf = (symbol: number) => symbol % 3;
const line = (label: string, value: string | number) => console.log(`${label.padEnd(58)} ${value}`);
const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[list.length >> 1] as number;
const quantile = (list: readonly number[], q: number) =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * q))] as number;

const home = mkdtempSync(join(tmpdir(), 'torghut-bench-'));
process.env.LOG_LEVEL ??= 'warn';
const store = signalStoreSource({ home, env: {} });
const client = await store.client();

/** The outputs of so many seconds, one bar and one signal of each symbol a second. */
function* outputs(seconds: number, from: number) {
  for (let second = 1; second <= seconds; second++) {
    for (let i = 0; i < symbols.length; i++) {
      const name = symbols[i] as string;
      yield { partition: partitionOf(i), output: bar(name, from + second, { close: 100 + (second % 97) / 100 }) };
      yield { partition: partitionOf(i), output: signal(name, from + second) };
    }
  }
}

async function fillLog(log: EventLog, seconds: number, from: number): Promise<void> {
  await log.ensureTopics((['taBars', 'taSignals'] as const).map((role) => topicSpec(role, { clock: 'virtual' })));
  const all = [...outputs(seconds, from)];
  for (let partition = 0; partition < 3; partition++) {
    const writer = await log.openWriter({ owner: `ta-${partition}` });
    const own = all.filter((each) => each.partition === partition);
    for (let at = 0; at < own.length; at += 2_000) {
      await writer.commit({
        records: own.slice(at, at + 2_000).map(({ output }) => ({
          topic: output.kind === 'bar' ? barsTopic : signalsTopic,
          partition,
          key: output.symbol,
          value: Buffer.from(recordText(output, 'r1')),
          timestampMs: output.end * 1000,
        })),
      });
    }
    await writer.close();
  }
}

/** Rows per second of the sink over everything in the log. */
async function throughSink(log: EventLog, round: number, rows: number): Promise<number> {
  const database = `sink_${round}`;
  await client.command({ query: `CREATE DATABASE ${database}` });
  const source: SignalStoreSource = { ...store, isEmbedded: true, database };
  const sink = new Sink({
    log,
    store: source,
    clock: openClock(undefined),
    logger: createLogger('sink'),
    target: { database, runId: 'r1', ttlDays: undefined },
    migrates: true,
    groupId: `bench-${round}`,
    barsTopic,
    signalsTopic,
    batchRows,
    flushMs: 1_000,
  });
  await migrateSignalStore(client, { database, runId: 'r1', ttlDays: undefined });
  const ended = new AbortController();
  const running = sink.run(ended.signal);
  // Checking the schema is no part of storing rows.
  while (sink.readiness().schema !== true) await new Promise((resolve) => setTimeout(resolve, 1));
  const began = performance.now();
  const stored = () => sink.status().rows.microbars + sink.status().rows.signals;
  while (stored() < rows) await new Promise((resolve) => setTimeout(resolve, 5));
  const seconds = (performance.now() - began) / 1000;
  ended.abort();
  await running;
  await client.command({ query: `DROP DATABASE ${database} SYNC` });
  return (rows * 1.5) / seconds;
}

/** The reference: the same rows, joined before, sent by the bare client one batch after the other. */
async function bare(round: number, batches: readonly { table: string; text: Buffer }[], rows: number): Promise<number> {
  const database = `bare_${round}`;
  await client.command({ query: `CREATE DATABASE ${database}` });
  await migrateSignalStore(client, { database, runId: 'r1', ttlDays: undefined });
  const began = performance.now();
  for (const { table, text } of batches) {
    const { stream } = await client.exec({
      query: `INSERT INTO ${database}.${table} FORMAT JSONEachRow`,
      values: Readable.from([text], { objectMode: false }),
    });
    stream.resume();
    await finished(stream);
  }
  const seconds = (performance.now() - began) / 1000;
  await client.command({ query: `DROP DATABASE ${database} SYNC` });
  return (rows * 1.5) / seconds;
}

function joinedBatches(seconds: number, from: number): { table: string; text: Buffer }[] {
  const offsets = new Map<string, bigint>();
  const tail = `,"stored_at":"${timeText(0)}"}`;
  const all = [...outputs(seconds, from)].map(({ partition, output }) => {
    const key = `${output.kind} ${partition}`;
    const offset = offsets.get(key) ?? 0n;
    offsets.set(key, offset + 1n);
    return rowOfRecord(logRecord(output, partition, offset), output.kind);
  });
  const batches: { table: string; text: Buffer }[] = [];
  for (let at = 0; at < all.length; at += batchRows) {
    const rows = all.slice(at, at + batchRows);
    const add = (table: string, list: typeof rows) => {
      if (list.length > 0)
        batches.push({ table, text: Buffer.from(`${list.map(({ head }) => head + tail).join('\n')}\n`) });
    };
    const ofSignals = rows.filter(({ kind }) => kind === 'signal');
    add(
      microbars.name,
      rows.filter(({ kind }) => kind === 'bar'),
    );
    add(signals.name, ofSignals);
    for (const piece of orderedPieces(ofSignals)) add(signalLog.name, piece);
  }
  return batches;
}

async function throughput(): Promise<void> {
  const seconds = 5_000;
  const from = 1_381_239_000;
  const rows = seconds * symbols.length * 2;
  const log = await openEventLog({ home, env: {}, clock: openClock(undefined) });
  await fillLog(log, seconds, from);
  const batches = joinedBatches(seconds, from);
  const ratios: number[] = [];
  const [ours, reference]: [number[], number[]] = [[], []];
  for (let round = 0; round < Number(values.rounds); round++) {
    reference.push(await bare(round, batches, rows));
    ours.push(await throughSink(log, round, rows));
    ratios.push((ours.at(-1) as number) / (reference.at(-1) as number));
  }
  await log.close();
  line('rows stored per round (three tables)', rows * 1.5);
  line('bare client, pre-joined NDJSON: rows per second', median(reference).toFixed(0));
  line(
    'through the sink: rows per second',
    `${median(ours).toFixed(0)} (${(100 * median(ratios)).toFixed(0)} % of the reference)`,
  );
}

/** Days of 1-second bars and signals, made by the engine itself: 23,400 seconds of each session, every symbol. */
async function generate(days: number, lastDay: string): Promise<void> {
  const list = (names: readonly { name: string }[], made: Record<string, string>) =>
    names.map(({ name }) => `${made[name] ?? 'NULL'} AS ${name}`).join(', ');
  const made: Record<string, string> = {
    symbol: "concat('S', leftPad(toString(s), 2, '0'))",
    window_size: "'PT1S'",
    event_ts: "toDateTime64(at, 3, 'UTC')",
    revision: '0',
    seq: 'toUnixTimestamp(at)',
    ingest_ts: 'event_ts',
    is_final: '1',
    source: "'ta'",
    version: '1',
    o: '100 + sin(n)',
    h: '101 + sin(n)',
    l: '99 + sin(n)',
    c: '100 + cos(n)',
    v: 'n % 1000',
    vwap: '100 + sin(n)', // biome-ignore format: one list
    count: 'n % 50',
    unpriced_count: '0',
    is_flat: '0',
    macd: 'sin(n)',
    macd_signal: 'cos(n)',
    macd_hist: 'sin(n) - cos(n)',
    ema12: '100 + sin(n)',
    ema26: '100 + cos(n)',
    rsi14: 'n % 100', // biome-ignore format: one list
    n_bars: '30',
    is_warm: '1',
    signal_quality_flag: "'ok'",
    feature_schema_version: "'1'",
    run_id: "'r1'",
    src_partition: 's % 3',
    src_offset: 'toInt64((day * 23400 + n) * 4 + intDiv(s, 3))',
    stored_at: 'event_ts',
  };
  for (let day = 0; day < days; day++) {
    // The two tables that the loop reads.
    for (const table of [microbars, signalLog]) {
      await client.command({
        query: `INSERT INTO torghut.${table.name} SELECT ${list(table.columns, made)} FROM (
  SELECT intDiv(number, 12) AS n, number % 12 AS s, ${day} AS day,
    toDateTime('${lastDay} 13:30:01', 'UTC') - INTERVAL ${days - 1 - day} DAY + n AS at FROM numbers(23400 * 12))`,
        clickhouse_settings: { max_insert_threads: '1', max_block_size: '300000' },
      });
    }
  }
}

async function timed(list: number[], work: () => Promise<unknown>): Promise<void> {
  const began = performance.now();
  await work();
  list.push(performance.now() - began);
}

async function latency(): Promise<void> {
  const days = Number(values.days);
  const lastDay = '2013-10-08';
  await migrateSignalStore(client, { database: 'torghut', runId: 'r1', ttlDays: undefined });
  await generate(days, lastDay);
  const reader = createSignalReader({ client: async () => client, database: 'torghut', runId: 'r1', partitions: 3 });
  const writer = createSignalWriter({ client: async () => client, database: 'torghut' });
  let end = Date.parse(`${lastDay}T20:00:00Z`) / 1000;
  let next = BigInt(days * 23_400 * 4);
  const logTimes: number[] = [];
  const priceTimes: number[] = [];
  // As the loop behind the sink: some new seconds, the rows behind the cursor, the prices of all symbols.
  for (let i = 0; i < Number(values.queries); i++) {
    const from = next;
    end += 1;
    await writer.write(
      symbols.flatMap((name, s) => [
        rowOfRecord(logRecord(bar(name, end), partitionOf(s), next), 'bar'),
        rowOfRecord(logRecord(signal(name, end), partitionOf(s), next + BigInt(Math.floor(s / 3))), 'signal'),
      ]),
      end * 1000,
    );
    next += 4n;
    const positions = [0, 1, 2].flatMap((partition) =>
      (['PT1S', 'PT1M'] as const).map((windowSize) => ({ windowSize, partition, from })),
    );
    await timed(logTimes, async () => {
      const rows = await reader.read(positions, 500);
      if (rows.length === 0) throw new Error('the cursor found nothing');
    });
    await timed(priceTimes, () => reader.newestPrices(symbols, end * 1000, 300_000));
  }
  await report('rows behind the cursor', logTimes);
  await report('newest prices of 12 symbols', priceTimes);
}

async function report(name: string, times: readonly number[]): Promise<void> {
  const result = await client.query({ query: 'SELECT count() AS n FROM torghut.ta_signal_log', format: 'JSONEachRow' });
  const [row] = (await result.json()) as { n: string }[];
  const text = [0.5, 0.99].map((q) => `p${q * 100} ${quantile(times, q).toFixed(1)} ms`).join(', ');
  line(`${name} over ${row?.n} rows, ${times.length} times`, text);
}

try {
  if (values.part !== 'latency') await throughput();
  if (values.part !== 'throughput') await latency();
} finally {
  await store.close();
  rmSync(home, { recursive: true, force: true });
}
