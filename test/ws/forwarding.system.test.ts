/** The opening two minutes of the recorded day through simulator and ws: the topics hold the raw file, no more, no less. */
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { partitionOfKey } from '../../src/lib/log/partition.ts';
import { difference, payloads, type RawMessage, Rig, readRaw, worstLatenessMs } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;
const endNs = BigInt(Date.parse('2013-10-08T13:32:00Z')) * 1_000_000n;

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

const newRig = (options: Partial<ConstructorParameters<typeof Rig>[0]> = {}) => {
  rig = new Rig({ data: [smoke], startNs, symbols: ['AIG', 'BAC', 'IBM', 'SPY'], speed: 20, ...options });
  return rig;
};

async function expectWhole(of: Rig, raw: RawMessage[], mayBeLateMs = 500): Promise<void> {
  const trades = raw.filter((message) => message.T === 't');
  const quotes = raw.filter((message) => message.T === 'q');
  const status = await of
    .until(
      'everything acknowledged',
      ({ acknowledged, gaps }) =>
        (acknowledged.trades ?? 0) >= trades.length && (acknowledged.quotes ?? 0) >= quotes.length && gaps.open === 0,
      30_000,
    )
    .catch((error: unknown) => error as Error);
  const tradeRecords = await of.records('trades');
  const quoteRecords = await of.records('quotes');
  expect(difference(payloads(tradeRecords, 'trades'), trades)).toEqual({ extra: [], missing: [] });
  expect(difference(payloads(quoteRecords, 'quotes'), quotes)).toEqual({ extra: [], missing: [] });
  expect(status).not.toBeInstanceOf(Error);
  expect(await of.records('repair')).toEqual([]);
  for (const record of [...tradeRecords, ...quoteRecords]) {
    if (record.key !== null) expect(record.partition).toBe(partitionOfKey(record.key, 3));
  }
  // Recorded data are sorted, so any lateness is ours; 500 ms is what ta waits.
  expect(await worstLatenessMs(of)).toBeLessThanOrEqual(mayBeLateMs);
  // seq grows within a partition whatever died in between.
  const last = new Map<string, number>();
  for (const record of [...tradeRecords, ...quoteRecords]) {
    const { seq } = JSON.parse(String(record.value)) as { seq: number };
    const key = `${record.topic}/${record.partition}`;
    expect(seq).toBeGreaterThan(last.get(key) ?? 0);
    last.set(key, seq);
  }
}

describe.skipIf(!folder)('the recorded opening (set TORGHUT_DATA)', () => {
  test('every trade and quote reaches its topic once, with the provider’s numbers', async () => {
    const of = newRig();
    await of.startSimulator();
    of.run();
    of.startWs();
    await of.untilMarket(endNs);
    await expectWhole(of, readRaw(smoke));
    // Nothing more comes, yet every partition of every input is told how far market time has come.
    await of.untilMarket(endNs + 110_000_000_000n);
    expect(await of.kill('ws', 'SIGTERM')).toBe(0);
    const reached = new Map<string, number>();
    for (const topic of ['trades', 'quotes', 'bars'] as const) {
      for (const record of await of.records(topic)) {
        const { channel, event_ts } = JSON.parse(String(record.value)) as { channel: string; event_ts: string };
        if (channel !== 'progress') continue;
        expect(record.headers.shard).toBe('0/1');
        expect(Date.parse(event_ts)).toBeLessThanOrEqual(record.timestampMs);
        reached.set(`${topic}/${record.partition}`, Date.parse(event_ts));
      }
    }
    expect(reached.size).toBe(9);
    expect(Math.min(...reached.values())).toBeGreaterThan(Number(endNs / 1_000_000n) + 100_000);
  });

  const seeds = process.env.TORGHUT_TEST_FULL ? 10 : 2;
  const randomOf = (seed: number) => {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) / 2 ** 24;
    };
  };
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  test.each(Array.from({ length: seeds }, (_, i) => Number(process.env.TORGHUT_SEED ?? Date.now() % 100_000) + i))(
    'kill -9 of ws at three random moments loses and doubles nothing (seed %i)',
    async (seed) => {
      const random = randomOf(seed);
      const of = newRig();
      await of.startSimulator();
      of.run();
      of.startWs();
      for (let kill = 0; kill < 3; kill++) {
        await wait(600 + random() * 1_500);
        await of.kill('ws');
        await wait(random() * 300);
        of.startWs();
      }
      await of.untilMarket(endNs);
      await expectWhole(of, readRaw(smoke));
      const status = await of.wsStatus();
      // The counters are those of the run, not of the last process.
      expect(status?.received.trades ?? 0).toBeLessThan(status?.acknowledged.trades ?? 0);
    },
  );

  test('kill -9 of the simulator: what passed meanwhile comes from REST', async () => {
    const of = newRig();
    await of.startSimulator();
    of.run();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    for (let kill = 0; kill < 2; kill++) {
      await wait(500 + kill * 400);
      await of.kill('simulator');
      await of.startSimulator();
    }
    await of.untilMarket(endNs);
    await expectWhole(of, readRaw(smoke));
    const sources = (await of.records('trades'))
      .map((record) => JSON.parse(String(record.value)) as { channel: string; source: string })
      .filter(({ channel }) => channel === 'trades')
      .map(({ source }) => source);
    expect(new Set(sources)).toEqual(new Set(['ws', 'rest']));
  });

  test.each([
    { what: 'sockets cut in the middle of a frame', faults: [{ name: 'drop_mid_frame', count: 3, probability: 0.02 }] },
    {
      what: 'a slow client is told 407, REST answers 429 and 500',
      faults: [
        { name: 'stream_error', code: 407, count: 2, probability: 0.02 },
        { name: 'http_429', count: 3 },
        { name: 'http_500', count: 3 },
      ],
    },
    {
      what: 'data held back',
      faults: [{ name: 'slow', count: 4, probability: 0.05, delay_ms: 300 }],
    },
  ])('whole in spite of: $what', async ({ faults }) => {
    const of = newRig();
    await of.startSimulator();
    for (const fault of faults) await of.fault(fault);
    of.run();
    of.startWs();
    await of.untilMarket(endNs);
    await expectWhole(of, readRaw(smoke));
  });

  test('a socket that answers pings but brings nothing is replaced, and the silence filled', async () => {
    const of = newRig();
    await of.startSimulator();
    of.run();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    await of.fault({ name: 'silent', count: 1 });
    await of.untilMarket(endNs);
    await of.until('replaced', ({ reconnects }) => reconnects >= 1);
    // Found by asking REST after 5 s of silence: late enough for a revision, not too late for the bar.
    await expectWhole(of, readRaw(smoke), 8_000);
  });

  test('406 at auth blocks, is retried by its rule, and the wait is filled', async () => {
    const of = newRig();
    await of.startSimulator();
    await of.fault({ name: 'connection_406', count: 1 });
    of.run();
    of.startWs();
    await of.until('blocked', ({ state }) => state === 'blocked');
    await of.untilMarket(endNs);
    await expectWhole(of, readRaw(smoke));
    const classes = (await of.records('status')).map(
      (record) => (JSON.parse(String(record.value)) as { payload: { error_class: string | null } }).payload.error_class,
    );
    expect(classes).toContain('alpaca_406_second_connection');
  });
});
