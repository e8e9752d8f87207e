/** The sink between the real embedded log and the real engine, with both of them killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterEach, describe, expect, test } from 'vitest';
import type { SinkStatus } from '../../src/daemons/sink/sink.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog, LogWriter, NewRecord } from '../../src/lib/log/port.ts';
import { topicSpec } from '../../src/lib/log/topics.ts';
import { ownClockFile } from '../../src/lib/service/clock.ts';
import { findService, homePaths } from '../../src/lib/service/home.ts';
import { createSignalReader } from '../../src/lib/signals/reader.ts';
import type { BarOutput, SignalOutput } from '../../src/lib/ta/events.ts';
import { clientOf, rowsOf, type StoreProcess, startStore, until } from '../embedded/rig.ts';
import { bar, barsTopic, recordText, signal, signalsTopic } from '../signals/records.ts';
import { freshHome, testEnvironment } from '../support/torghut.ts';

const runId = 'r1';
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const item of open.splice(0).reverse()) await item.close();
});

interface Rig {
  home: string;
  log: EventLog;
  writers: LogWriter[];
  /** Everything that was committed, by topic and partition, in order. */
  committed: Map<string, { text: string; offset: bigint }[]>;
  /** Commits bars and signals of so many seconds, from a second on. */
  fill(from: number, seconds: number): Promise<void>;
}

async function rig(): Promise<Rig> {
  const home = freshHome();
  const clock = ownClockFile(homePaths.clock(home), 1381238999_000_000_000n, 1);
  const renewing = setInterval(() => clock.renew(), 50);
  open.push({ close: () => clearInterval(renewing) });
  const log = await openEventLog({ home, env: {}, clock });
  open.push(log);
  await log.ensureTopics((['taBars', 'taSignals'] as const).map((role) => topicSpec(role, { clock: 'virtual' })));
  const writers = await Promise.all([0, 1, 2].map((p) => log.openWriter({ owner: `ta-${p}` })));
  const committed: Rig['committed'] = new Map();
  const fill = async (from: number, seconds: number) => {
    for (let partition = 0; partition < 3; partition++) {
      const records: NewRecord[] = [];
      const add = (output: BarOutput | SignalOutput) => {
        records.push({
          topic: output.kind === 'bar' ? barsTopic : signalsTopic,
          partition,
          key: output.symbol,
          value: Buffer.from(recordText(output, runId)),
          timestampMs: output.end * 1000,
        });
      };
      for (let second = from; second < from + seconds; second++) {
        const end = 1381239000 + second;
        const symbol = `S${partition}`;
        add(bar(symbol, end, { close: second }));
        add(signal(symbol, end));
        if (second % 5 === 4) {
          add(bar(symbol, end - 2, { revision: 1, close: second }));
          add(signal(symbol, end - 2, { revision: 1 }));
        }
        if (second % 60 === 59) add(signal(symbol, end, { windowSeconds: 60 }));
      }
      const { firstOffsets } = await (writers[partition] as LogWriter).commit({ records });
      for (const topic of [barsTopic, signalsTopic]) {
        const first = firstOffsets.find((place) => place.topic === topic)?.offset ?? 0n;
        const key = `${topic} ${partition}`;
        const texts = records
          .filter((record) => record.topic === topic)
          .map((record) => record.value?.toString() ?? '');
        const added = texts.map((text, i) => ({ text, offset: first + BigInt(i) }));
        committed.set(key, [...(committed.get(key) ?? []), ...added]);
      }
    }
  };
  return { home, log, writers, committed, fill };
}

interface SinkProcess {
  child: ChildProcess;
  stderr(): string;
  ended: Promise<number | null>;
}

function startSink(home: string, env: NodeJS.ProcessEnv = {}): SinkProcess {
  const child = spawn(process.execPath, [resolve('test/sink/child.ts'), home], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: testEnvironment({
      TORGHUT_PARENT: 'stdin',
      TORGHUT_RUN_ID: runId,
      TORGHUT_CLOCK: homePaths.clock(home),
      TA_CLICKHOUSE_FLUSH_MS: '50',
      TA_CLICKHOUSE_BATCH_SIZE: '200',
      ...env,
    }),
  });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  open.push({ close: () => child.kill('SIGKILL') });
  const ended = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  return { child, stderr: () => stderr, ended };
}

async function statusOf(home: string): Promise<SinkStatus | undefined> {
  const live = findService(home, 'sink');
  if (!live) return undefined;
  try {
    return (await (await fetch(`${live.url}/status`)).json()) as SinkStatus;
  } catch {
    return undefined;
  }
}

/** Waits until the sink has committed everything. */
async function caughtUp({ home, committed }: Rig): Promise<SinkStatus> {
  return until(
    'the sink has everything',
    async () => {
      const status = await statusOf(home);
      const isAll = [...committed].every(([key, records]) => {
        const [topic, partition] = key.split(' ') as [string, string];
        return status?.positions[topic]?.[partition] === String((records.at(-1)?.offset ?? -1n) + 1n);
      });
      return isAll ? status : undefined;
    },
    90_000,
  );
}

/** The tables hold the newest revision of every record, the log every record once, and nothing else. */
async function expectTablesEqualTopics(client: ClickHouseClient, { committed }: Rig): Promise<void> {
  interface Value {
    symbol: string;
    window_size: string;
    event_ts: string;
    revision: number;
    c?: number;
  }
  const newest = (topic: string) => {
    const rows = new Map<string, Value>();
    for (const [key, records] of committed) {
      if (!key.startsWith(topic)) continue;
      for (const { text } of records) {
        const value = JSON.parse(text) as Value;
        const at = `${value.symbol} ${value.window_size} ${value.event_ts}`;
        const known = rows.get(at);
        if (!known || known.revision < value.revision) rows.set(at, value);
      }
    }
    return rows;
  };
  for (const [topic, table, value] of [
    [barsTopic, 'ta_microbars', 'c'],
    [signalsTopic, 'ta_signals', 'macd'],
  ] as const) {
    const stored = await rowsOf<Record<string, unknown>>(
      client,
      `SELECT symbol, window_size, toString(event_ts) AS event_ts, revision, ${value} AS x FROM ${table} FINAL`,
    );
    const expected = [...newest(topic).values()].map((row) => ({
      symbol: row.symbol,
      window_size: row.window_size,
      event_ts: row.event_ts.replace('T', ' ').replace('Z', ''),
      revision: row.revision,
      x: (row as unknown as Record<string, unknown>)[value],
    }));
    const sorted = (rows: unknown[]) => rows.map((row) => JSON.stringify(row)).sort();
    expect(sorted(stored)).toEqual(sorted(expected));
  }
  const reader = createSignalReader({ client: async () => client, database: 'torghut', runId, partitions: 3 });
  for (const partition of [0, 1, 2]) {
    const all = committed.get(`${signalsTopic} ${partition}`) ?? [];
    const read = [];
    for (const windowSize of ['PT1S', 'PT1M'] as const) {
      read.push(...(await reader.read([{ windowSize, partition, from: 0n }], 1_000_000)));
    }
    expect(read.map(({ offset }) => offset).sort((a, b) => Number(a - b))).toEqual(all.map(({ offset }) => offset));
  }
}

async function openStore(home: string): Promise<{ store: StoreProcess; client: ClickHouseClient }> {
  const store = await startStore('clickhouse', home);
  open.push({ close: () => store.child.kill('SIGKILL') });
  const client = clientOf(store.endpoint);
  open.push(client);
  return { store, client };
}

describe('the sink', () => {
  test('stores what is there and what comes, and says how far it is', async () => {
    const given = await rig();
    const { client } = await openStore(given.home);
    await given.fill(0, 65);
    startSink(given.home);
    await caughtUp(given);
    await given.fill(65, 5);
    const status = await caughtUp(given);
    expect(status).toMatchObject({ circuit: 'closed', error: null, newest_event_ts: '2013-10-08T13:31:09Z' });
    expect(status.rows).toEqual({ microbars: 3 * 84, signals: 3 * 85 });
    await expectTablesEqualTopics(client, given);
    const ready = await fetch(`${findService(given.home, 'sink')?.url}/readyz`);
    expect(ready.status).toBe(200);
  });

  test('killed with -9, and the engine too, at random moments: the tables equal the topics, the log is gapless and single', async () => {
    const given = await rig();
    await given.fill(0, 300);
    let { store } = await openStore(given.home);
    let sink = startSink(given.home);
    const kills = process.env.TORGHUT_TEST_FULL ? 16 : 5;
    for (let i = 0; i < kills; i++) {
      await new Promise((done) => setTimeout(done, 100 + ((i * 7919) % 700)));
      await given.fill(300 + i * 20, 20);
      if (i % 2 === 0) {
        sink.child.kill('SIGKILL');
        await sink.ended;
        sink = startSink(given.home);
      } else {
        await store.kill();
        ({ store } = await openStore(given.home));
      }
    }
    await caughtUp(given);
    const client = clientOf(store.endpoint);
    open.push(client);
    await expectTablesEqualTopics(client, given);
  });

  test('two share the partitions, and when one dies the other takes over without a gap', async () => {
    const given = await rig();
    const { client } = await openStore(given.home);
    const first = startSink(given.home);
    await given.fill(0, 30);
    await caughtUp(given);
    startSink(given.home);
    await given.fill(30, 30);
    await new Promise((done) => setTimeout(done, 1_500));
    first.child.kill('SIGKILL');
    await first.ended;
    await given.fill(60, 30);
    await until(
      'everything is stored',
      async () => {
        const rows = await rowsOf<{ n: number }>(client, 'SELECT count() AS n FROM ta_microbars FINAL');
        return rows[0]?.n === 3 * 90;
      },
      60_000,
    );
    await expectTablesEqualTopics(client, given);
  });

  test('waits for an absent engine without giving up a row, and is not ready meanwhile', async () => {
    const given = await rig();
    await given.fill(0, 10);
    const sink = startSink(given.home, { TA_CLICKHOUSE_CONN_TIMEOUT_SECONDS: '1' });
    await until('it tries', () => /rows not stored yet/.test(sink.stderr()));
    const live = await until('it serves', () => findService(given.home, 'sink'));
    expect((await fetch(`${live.url}/readyz`)).status).toBe(503);
    expect((await fetch(`${live.url}/healthz`)).status).toBe(200);
    const { client } = await openStore(given.home);
    await caughtUp(given);
    await expectTablesEqualTopics(client, given);
  });

  test('a store below its reserve of free space is left alone, and written by itself when there is space', async () => {
    const given = await rig();
    const { client } = await openStore(given.home);
    await given.fill(0, 10);
    const sink = startSink(given.home, { TA_SINK_MIN_FREE_BYTES: String(2 ** 50) });
    const opened = await until('the circuit opens', async () => {
      const status = await statusOf(given.home);
      return status?.circuit === 'open' ? status : undefined;
    });
    expect(opened.error).toContain('store_nearly_full');
    expect(await rowsOf(client, 'SELECT count() AS n FROM ta_microbars')).toEqual([{ n: 0 }]);
    const live = findService(given.home, 'sink');
    expect(await (await fetch(`${live?.url}/metrics`)).text()).toMatch(/^torghut_sink_circuit_open 1$/m);
    sink.child.kill('SIGKILL');
    await sink.ended;
    startSink(given.home, { TA_SINK_MIN_FREE_BYTES: '1' });
    await caughtUp(given);
    await expectTablesEqualTopics(client, given);
  });

  test('rows of another run are refused with exit 4, and nothing of them is stored', async () => {
    const given = await rig();
    const { client } = await openStore(given.home);
    await given.fill(0, 5);
    const sink = startSink(given.home, { TORGHUT_RUN_ID: 'other' });
    expect(await sink.ended).toBe(4);
    expect(sink.stderr()).toContain('run_mismatch');
    expect(await rowsOf(client, 'SELECT count() AS n FROM ta_microbars')).toEqual([{ n: 0 }]);
    const right = startSink(given.home);
    expect(await right.ended, 'the database belongs to the first run now').toBe(4);
    expect(right.stderr()).toContain('run_mismatch');
  });

  test('a TTL on a virtual clock is refused with exit 4 and the name of the setting', async () => {
    const given = await rig();
    const sink = startSink(given.home, { TA_CLICKHOUSE_TTL_DAYS: '35' });
    expect(await sink.ended).toBe(4);
    expect(sink.stderr()).toContain('ttl_on_virtual_clock');
    expect(sink.stderr()).toContain('TA_CLICKHOUSE_TTL_DAYS');
  });

  test('a table that is gone ends it with exit 4; the rows stay in the log', async () => {
    const given = await rig();
    const { client } = await openStore(given.home);
    await given.fill(0, 5);
    const sink = startSink(given.home);
    await caughtUp(given);
    await client.command({ query: 'DROP TABLE ta_signals SYNC' });
    await given.fill(5, 5);
    expect(await sink.ended).toBe(4);
    expect(sink.stderr()).toContain('sink_store_rejects');
  });
});
