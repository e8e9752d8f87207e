/** The ta engine as real processes on the embedded log: killed, moved between processes, caught up. */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readTaskState } from '../../src/daemons/ta/task-state.ts';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { findService } from '../../src/lib/service/home.ts';
import { sleep } from '../../src/lib/service/machine.ts';
import { type Feed, type FeedRecord, feedRecords, openFeed, partitions, readOutputs } from './feed.ts';
import { randomMarket, seededRandom } from './fixtures.ts';

const children = new Set<ChildProcess>();
const feeds = new Set<Feed>();

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  for (const feed of feeds) {
    await feed.close();
    rmSync(feed.home, { recursive: true, force: true });
  }
  feeds.clear();
});

async function newFeed(): Promise<Feed> {
  const feed = await openFeed();
  feeds.add(feed);
  return feed;
}

interface Engine {
  child: ChildProcess;
  exited: Promise<number | null>;
}

function startEngine(feed: Feed): Engine {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'engine-process.ts'), feed.home], {
    env: feed.env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.add(child);
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  return { child, exited };
}

async function kill(engine: Engine, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
  engine.child.kill(signal);
  return engine.exited;
}

interface Status {
  tasks: { partition: number; positions: Record<string, string>; watermark: string | null }[];
  bars_out: number;
  signals_out: number;
  late: number;
  rejected: number;
  duplicates: number;
  latest: { symbol: string }[];
}

async function statusOf(feed: Feed): Promise<Status | undefined> {
  const endpoint = findService(feed.home, 'ta');
  if (!endpoint) return undefined;
  try {
    const response = await fetch(`${endpoint.url}/status`, { signal: AbortSignal.timeout(2_000) });
    return (await response.json()) as Status;
  } catch {
    return undefined;
  }
}

/** The group's committed offsets: moves with every commit of any process. */
async function committed(feed: Feed): Promise<bigint> {
  const offsets = await feed.log.groupOffsets('torghut-ta', [
    defaultTopics.trades,
    defaultTopics.quotes,
    defaultTopics.bars,
  ]);
  return offsets.reduce((sum, { offset }) => sum + offset, 0n);
}

/** Waits until everything fed is committed (the last records of the merge may be progress that holds itself back). */
async function settled(feed: Feed, total: number): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if ((await committed(feed)) >= BigInt(total - 2 * partitions)) return;
    await sleep(100);
  }
  throw new Error(`only ${await committed(feed)} of ${total} records were committed`);
}

async function write(feed: Feed, records: readonly FeedRecord[]): Promise<void> {
  await feed.writer.commit({ records: records.map(({ record }) => record) });
}

async function outputs(feed: Feed) {
  return {
    bars: await readOutputs(feed.log, defaultTopics.taBars),
    signals: await readOutputs(feed.log, defaultTopics.taSignals),
    late: await readOutputs(feed.log, defaultTopics.taLate),
  };
}

const symbols = ['AIG', 'BAC', 'IBM', 'SPY', 'TSLA'];
const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
const market = feedRecords(randomMarket(seed, 130, 5, symbols), seed);

/** What one engine that is left alone makes of the feed. */
async function undisturbed() {
  const feed = await newFeed();
  await write(feed, market);
  const engine = startEngine(feed);
  await settled(feed, market.length);
  const status = await statusOf(feed);
  expect(await kill(engine, 'SIGTERM')).toBe(0);
  return { ...(await outputs(feed)), status };
}

/** A progress record at another time. */
function progressAt(record: FeedRecord['record'], atMs: number): FeedRecord {
  const body = JSON.parse(String(record.value)) as Record<string, unknown>;
  const value = Buffer.from(JSON.stringify({ ...body, event_ts: new Date(atMs).toISOString() }));
  return { atMs, record: { ...record, value, timestampMs: atMs } };
}

describe('the ta engine on the embedded log', () => {
  it('gives the same records per key when it is killed at random moments as when it is left alone', async () => {
    const straight = await undisturbed();
    expect(straight.bars.size).toBeGreaterThan(500);
    expect(straight.signals.size).toBeGreaterThan(450);
    const revised = [...straight.bars.values()].filter((revisions) => revisions.length > 1).length;
    expect(revised / straight.bars.size).toBeGreaterThan(0.01);
    const data = market.filter(({ record }) => record.key !== null).length;
    expect(straight.status?.duplicates).toBeGreaterThan(data * 0.01);
    for (const [key, revisions] of [...straight.bars, ...straight.signals]) {
      const numbers = revisions.map((text) => (JSON.parse(text) as { revision: number }).revision);
      expect(numbers, key).toEqual(numbers.map((_, i) => i));
    }

    const random = seededRandom(seed + 1);
    const feed = await newFeed();
    let engine = startEngine(feed);
    let fed = 0;
    let kills = 0;
    const wanted = process.env.TORGHUT_TEST_FULL ? 20 : 5;
    while (kills < wanted) {
      // Feed on and kill while commits come.
      const before = await committed(feed).catch(() => 0n);
      const step = Math.ceil((market.length / wanted) * (0.5 + 0.5 * random()));
      const until = Math.min(fed + step, Math.floor((market.length * (kills + 1)) / (wanted + 1)));
      for (; fed < until; fed += 40) {
        await write(feed, market.slice(fed, Math.min(fed + 40, until)));
        await sleep(2);
      }
      fed = until;
      for (let i = 0; i < 4_000 && (await committed(feed)) <= before; i++) await sleep(5);
      expect(await committed(feed)).toBeGreaterThan(before);
      await sleep(random() * 60);
      await kill(engine);
      kills += 1;
      engine = startEngine(feed);
    }
    await write(feed, market.slice(fed));
    await settled(feed, market.length);
    expect(await kill(engine, 'SIGTERM')).toBe(0);
    const again = await outputs(feed);
    expect(again.bars).toEqual(straight.bars);
    expect(again.signals).toEqual(straight.signals);
    expect(again.late).toEqual(straight.late);
  });

  it('gives the same when partitions move between processes, by stop, by kill and by a frozen process that wakes', async () => {
    const straight = await undisturbed();
    const feed = await newFeed();
    const third = Math.floor(market.length / 4);
    const part = (i: number) => market.slice(i * third, i === 3 ? market.length : (i + 1) * third);
    const first = startEngine(feed);
    await write(feed, part(0));
    await sleep(1_000);
    const second = startEngine(feed);
    await write(feed, part(1));
    await sleep(1_500);
    await kill(first, 'SIGTERM');
    await write(feed, part(2).slice(0, 500));
    await sleep(500);
    const other = startEngine(feed);
    await sleep(1_500);
    // Frozen for longer than its session: the other takes its partitions, then it wakes and must not write.
    second.child.kill('SIGSTOP');
    await write(feed, part(2).slice(500));
    await sleep(4_000);
    second.child.kill('SIGCONT');
    await write(feed, part(3));
    await settled(feed, market.length);
    await kill(other);
    await kill(second);
    const again = await outputs(feed);
    expect(again.bars).toEqual(straight.bars);
    expect(again.signals).toEqual(straight.signals);
  });

  it('drops the stored state of a symbol that was silent for seven market days', async () => {
    const feed = await newFeed();
    const first = feedRecords(randomMarket(seed, 70, 5, ['AIG']), seed);
    // Eight days later the market goes on without it.
    const later = 8 * 86_400_000;
    const next = feedRecords(
      randomMarket(seed, 70, 5, ['SPY']).map(({ event, at }) => ({
        event: { ...event, sec: event.sec + later / 1_000 },
        at,
      })),
      seed,
    );
    const engine = startEngine(feed);
    await write(feed, first);
    await settled(feed, first.length);
    const partition = partitionOfKey('AIG', partitions);
    const before = await readTaskState(feed.log, defaultTopics.taState, partition);
    expect([...before.symbols.keys()]).toContain('AIG');
    const shifted = next.map(({ record, atMs }) => {
      const isProgress = record.key === null;
      return isProgress ? progressAt(record, atMs + later) : { atMs, record: { ...record, timestampMs: atMs + later } };
    });
    await write(feed, shifted);
    await settled(feed, first.length + next.length);
    const after = await readTaskState(feed.log, defaultTopics.taState, partition);
    expect([...after.symbols.keys()]).not.toContain('AIG');
    const other = await readTaskState(feed.log, defaultTopics.taState, partitionOfKey('SPY', partitions));
    expect([...other.symbols.keys()]).toContain('SPY');
    expect((await statusOf(feed))?.latest.map(({ symbol }) => symbol)).toEqual(['SPY']);
    expect(await kill(engine, 'SIGTERM')).toBe(0);
  });
});
