/**
 * ws on a real broker that goes away: it goes on reading into its spool, survives in the process, and what it drains is the raw
 * file, once each. One broker for the whole file.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { smallDisk } from '../support/small-disk.ts';
import { counter, expectWhole } from './kafka-verdict.ts';
import { stretchOfDay } from './recorded.ts';
import { type RawMessage, Rig, readRaw } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
const second = 1_000_000_000n;
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;

let kafka: KafkaServer;
let rig: Rig | undefined;
let count = 0;
let isDown = false;
const killBroker = async () => {
  isDown = true;
  await kafka.kill();
};
const restartBroker = async () => {
  await kafka.restart();
  isDown = false;
};
afterEach(async () => {
  await rig?.close();
  rig = undefined;
  if (isDown) await restartBroker();
});

const newRig = (options: Partial<ConstructorParameters<typeof Rig>[0]> = {}) => {
  count += 1;
  rig = new Rig({
    data: [smoke],
    startNs,
    symbols: ['AIG', 'BAC', 'IBM', 'SPY'],
    speed: 20,
    kafka: { bootstrap: kafka.bootstrap, name: `t${count}` },
    ...options,
    env: { KAFKA_TRANSACTION_TIMEOUT_MS: '2000', KAFKA_REQUEST_TIMEOUT_MS: '2000', ...options.env },
  });
  return rig;
};

const folders: string[] = [];
function folderOf(): string {
  const made = mkdtempSync(join(tmpdir(), 'torghut-outage-'));
  folders.push(made);
  return made;
}
afterAll(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

describe.skipIf(!folder)('a broker that goes away (needs TORGHUT_DATA)', () => {
  beforeAll(async () => {
    kafka = await startKafka();
  });
  afterAll(async () => {
    await kafka?.stop();
  });

  test('kill -9 of the broker, for longer than a transaction may last: ws survives it in the process', async () => {
    const of = newRig({ speed: 10 });
    await of.startSimulator();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    const pid = of.pid('ws');
    of.run();
    await of.untilMarket(startNs + 20n * second);
    await killBroker();
    const before = await of.wsStatus();
    await delay(5_000);
    const during = await of.wsStatus();
    await restartBroker();
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(of.wsEnds).toEqual([]);
    expect(of.pid('ws')).toBe(pid);
    // Reading never stopped, and what could not be committed waited on disk.
    expect(during?.received.trades ?? 0).toBeGreaterThan(before?.received.trades ?? 0);
    expect(during?.spooled_bytes ?? 0).toBeGreaterThan(0);
    expect(of.stderr.ws).toContain('by a new transaction');
  });

  test('kill -9 of ws while its broker is away: the next one goes on with the spool', async () => {
    const of = newRig({ speed: 10 });
    await of.startSimulator();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    of.run();
    await of.untilMarket(startNs + 20n * second);
    await killBroker();
    await of.until('spooled', ({ spooled_bytes }) => spooled_bytes > 400_000);
    await of.kill('ws');
    await restartBroker();
    of.startWs();
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(of.stderr.ws).toContain('taken over from its spool');
    // Most of what waited came from the spool and not from REST.
    const records = [...(await of.records('quotes')), ...(await of.records('trades'))];
    const sources = records.map(({ value }) => (JSON.parse(String(value)) as { source: string }).source);
    expect(sources.filter((source) => source === 'ws').length).toBeGreaterThan(sources.length / 2);
  });

  test('an outage of a market hour at the recorded rate loses nothing and drains faster than live (scaled)', async () => {
    const minutes = process.env.TORGHUT_TEST_FULL ? 60 : 12;
    const begin = '2013-10-08T14:00:00Z';
    const from = BigInt(Date.parse(begin)) * 1_000_000n;
    const length = BigInt(60 * (minutes + 8));
    const end = new Date(Date.parse(begin) + Number(length) * 1_000).toISOString();
    const raw = stretchOfDay(begin, end);
    const path = join(folderOf(), 'hour.ndjson.gz');
    writeFileSync(path, gzipSync(raw.map((line) => `${line}\n`).join('')));
    const of = newRig({ data: [path], startNs: from, speed: process.env.TORGHUT_TEST_FULL ? 60 : 90 });
    await of.startSimulator();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    of.run();
    await of.untilMarket(from + 30n * second);
    await killBroker();
    await of.untilMarket(from + BigInt(60 * minutes + 30) * second);
    const spooled = (await of.wsStatus())?.spooled ?? 0;
    await restartBroker();
    await of.until('drained while the market goes on', (status) => status.spooled === 0);
    await of.untilMarket(from + (length + 5n) * second);
    // The data are over: at this pace each connection would be replaced as mute before a repair is through.
    of.clock.setSpeed(1);
    await expectWhole(of, { raw: raw.map((line) => JSON.parse(line) as RawMessage) });
    expect(of.wsEnds).toEqual([]);
    expect(spooled).toBeGreaterThan(raw.length / 3);
    expect(counter(await of.metrics(), 'torghut_ws_shed_total')).toBe(0);
  });

  test('a spool over its bound, and a disk that is full: quotes go first, each is counted, and all come back', async () => {
    for (const kind of ['bound', 'disk'] as const) {
      const disk = kind === 'disk' ? smallDisk('256k') : undefined;
      const of = newRig({
        speed: 15,
        env: {
          INGEST_QUEUE_BYTES: '65536',
          ...(disk ? { INGEST_SPOOL_DIR: join(disk.path, 'spool') } : { INGEST_SPOOL_BYTES: '200000' }),
        },
      });
      try {
        await of.startSimulator();
        of.startWs();
        await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
        of.run();
        await of.untilMarket(startNs + 5n * second);
        await killBroker();
        await of.untilMarket(startNs + 80n * second);
        await restartBroker();
        await of.untilMarket(startNs + 125n * second);
        await expectWhole(of, { raw: readRaw(smoke) });
        expect(of.wsEnds).toEqual([]);
        const metrics = await of.metrics();
        const shed = (channel: string) => counter(metrics, 'torghut_ws_shed_total', { channel });
        expect(shed('quotes'), kind).toBeGreaterThan(0);
        const told = await toldAsShed(of);
        expect(told.from.quotes ?? '').not.toBe('');
        if (told.from.trades) expect((told.from.quotes as string) <= told.from.trades).toBe(true);
        for (const channel of ['trades', 'quotes'] as const) {
          const repaired = (await of.records(channel)).filter(
            ({ value }) => (JSON.parse(String(value)) as { source: string }).source === 'rest',
          );
          expect(repaired.length, `${kind} ${channel}`).toBe(shed(channel));
        }
        expect(told.counts).toEqual({ trades: shed('trades'), quotes: shed('quotes'), bars: shed('bars') });
      } finally {
        await of.close();
        rig = undefined;
        disk?.remove();
      }
    }
  });
});

/** What the status topic says was left out: how many of each channel, and from which event time on. */
async function toldAsShed(of: Rig): Promise<{ counts: Record<string, number>; from: Record<string, string> }> {
  const counts: Record<string, number> = { trades: 0, quotes: 0, bars: 0 };
  const from: Record<string, string> = {};
  for (const { value } of await of.records('status')) {
    const { gap, status, detail } = (JSON.parse(String(value)) as { payload: StatusPayload }).payload;
    if (status !== 'gap' || !gap || !detail?.startsWith('left out')) continue;
    counts[gap.channel] = (counts[gap.channel] ?? 0) + gap.count;
    const known = from[gap.channel];
    if (known === undefined || gap.from < known) from[gap.channel] = gap.from;
  }
  return { counts, from };
}

interface StatusPayload {
  status: string;
  detail: string | null;
  gap?: { channel: string; from: string; count: number };
}
