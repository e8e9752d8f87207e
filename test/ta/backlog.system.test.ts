/** Catching up after an outage: the memory of ta does not grow with what has piled up, nor with an input that holds the others. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { envelopeOf, type Feed, openFeed, partitions, progressRecords } from './feed.ts';
import { OPEN, quote, trade } from './fixtures.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const symbols = ['AIG', 'BAC', 'IBM', 'SPY', 'TSLA', 'MU'];
const PER_SECOND = 500;
const roles = ['trades', 'quotes', 'bars'] as const;

/** So many seconds of a busy market, two quotes to a trade, written before ta runs. @returns records without progress */
async function pileUp(feed: Feed, seconds: number, isHeld: boolean): Promise<number> {
  let count = 0;
  for (let second = 0; second < seconds; second++) {
    const records: NewRecord[] = [];
    for (let i = 0; i < PER_SECOND; i++) {
      const at = second + i / PER_SECOND;
      const symbol = symbols[i % symbols.length] as string;
      const price = 100 + (i % 50) / 100;
      const event = i % 3 === 0 ? trade(at, price, 100, { symbol }) : quote(at, price - 0.01, price + 0.01, { symbol });
      const topic = defaultTopics[i % 3 === 0 ? 'trades' : 'quotes'];
      const value = Buffer.from(envelopeOf(event).text);
      records.push({ topic, key: symbol, value, timestampMs: Math.floor((OPEN + at) * 1_000) });
    }
    count += records.length;
    // Without progress of the bars nothing of the others may be given out.
    const progress = progressRecords((OPEN + second + 1) * 1_000).map(({ record }) => record);
    records.push(...progress.filter(({ topic }) => !isHeld || topic !== defaultTopics.bars));
    await feed.writer.commit({ records });
  }
  return count;
}

interface Outcome {
  peakMb: number;
  committed: number;
}

/** Its own memory; pages of the log's mapped files are the kernel's, which takes them back when it needs them. */
const residentMb = (child: ChildProcess): number =>
  Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;

/** Starts ta behind the backlog and looks at its memory until `isDone`. */
async function catchUp(feed: Feed, isDone: (committed: number, elapsedMs: number) => boolean): Promise<Outcome> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'engine-process.ts'), feed.home], {
    env: { ...feed.env, TA_COMMIT_INTERVAL_MS: '200', TA_COMMIT_RECORDS: '5000' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  closing.push(() => child.kill('SIGKILL'));
  const started = performance.now();
  let peakMb = 0;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`ta ended with ${child.exitCode}`);
    peakMb = Math.max(peakMb, residentMb(child));
    const offsets = await feed.log.groupOffsets(
      'torghut-ta',
      roles.map((role) => defaultTopics[role]),
    );
    const committed = offsets.reduce((sum, { offset }) => sum + Number(offset), 0);
    const elapsedMs = performance.now() - started;
    if (isDone(committed, elapsedMs)) {
      child.kill('SIGTERM');
      return { peakMb, committed };
    }
    if (elapsedMs > 150_000) throw new Error(`only ${committed} records were committed`);
    await delay(25);
  }
}

async function newFeed(): Promise<Feed> {
  const feed = await openFeed();
  closing.push(() => rmSync(feed.home, { recursive: true, force: true }));
  closing.push(() => feed.close());
  return feed;
}

describe('a backlog', () => {
  it('of minutes is worked off without ever being held as a whole', async () => {
    const seconds = 480;
    const feed = await newFeed();
    const count = await pileUp(feed, seconds, false);
    const all = count + seconds * roles.length * partitions;
    // The last progress of a partition may hold itself back.
    const { peakMb, committed } = await catchUp(feed, (done) => done >= all - 2 * partitions);
    expect(committed).toBeGreaterThan(count);
    console.log(`peak resident memory ${Math.round(peakMb)} MB`);
    // How high the heap grows is the collector's choice: 104 to 222 MB were seen, 279 MB when whole partitions were queued.
    expect(peakMb).toBeLessThan(260);
  });

  it('takes no more memory when one input has nothing and holds the others', async () => {
    const feed = await newFeed();
    await pileUp(feed, 480, true);
    const { peakMb, committed } = await catchUp(feed, (_, elapsedMs) => elapsedMs > 4_000);
    console.log(`peak resident memory of a held merge ${Math.round(peakMb)} MB, ${committed} committed`);
    expect(committed).toBeLessThan(1_000);
    expect(peakMb).toBeLessThan(140);
  });
});
