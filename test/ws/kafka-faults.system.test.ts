/**
 * Every way in which a market stream goes wrong, against the simulator and a real broker: whatever it is told and however it is
 * cut, the topics end as the raw file, each message once. One broker for the whole file.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { waitForOpenTransactions } from '../../src/daemons/ws/open-transactions.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import { shardOf } from '../../src/lib/market/shard.ts';
import { systemClock } from '../../src/lib/service/clock.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { counter, expectWhole } from './kafka-verdict.ts';
import { difference, payloads, type RawMessage, Rig, readRaw } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
const second = 1_000_000_000n;
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;

let kafka: KafkaServer;
let rig: Rig | undefined;
let count = 0;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

type RigOptions = Partial<ConstructorParameters<typeof Rig>[0]>;
const makeRig = (options: RigOptions) =>
  new Rig({
    data: [smoke],
    startNs,
    symbols: ['AIG', 'BAC', 'IBM', 'SPY'],
    speed: 20,
    kafka: { bootstrap: kafka.bootstrap, name: `f${count}` },
    ...options,
    env: { RECONNECT_MAX_MS: '200', INGEST_REFUSED_RETRY_MS: '40', ...options.env },
  });

const newRig = (options: RigOptions = {}) => {
  count += 1;
  rig = makeRig(options);
  return rig;
};

/** A further ws on the topics, the simulator and the clock of a rig. */
const besideRig = (of: Rig, env: Record<string, string>) => makeRig({ beside: of, env });

/** Simulator and ws, the market running. */
async function begin(options: Partial<ConstructorParameters<typeof Rig>[0]> = {}): Promise<Rig> {
  const of = newRig(options);
  await of.startSimulator();
  of.startWs();
  await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
  of.run();
  return of;
}

/** What each code says of itself in the metrics, and whether it ends the session (spec ingest 1.4). */
const codes = [
  [400, 'alpaca_protocol', true],
  [401, 'alpaca_auth', true],
  [402, 'alpaca_auth', true],
  [403, 'already_authenticated', false],
  [404, 'alpaca_auth_timeout', true],
  [405, 'alpaca_symbol_limit', false],
  [406, 'alpaca_406_second_connection', true],
  [407, 'alpaca_slow_client', true],
  [408, 'alpaca_entitlement', true],
  [409, 'alpaca_entitlement', true],
  [410, 'alpaca_protocol', false],
  [411, 'alpaca_entitlement', true],
  [412, 'alpaca_protocol', true],
  [413, 'alpaca_protocol', true],
  [500, 'alpaca_server', true],
] as const;

describe.skipIf(!folder)('a market stream that goes wrong (needs TORGHUT_DATA)', () => {
  beforeAll(async () => {
    kafka = await startKafka();
  });
  afterAll(async () => {
    await kafka?.stop();
  });

  const errorsOf = async (of: Rig, errorClass: string) =>
    counter(await of.metrics(), 'torghut_ws_ws_connect_errors_total', { stream: 'market', error_class: errorClass });

  test('every error code in the middle of the data, each by its class', async () => {
    const of = await begin({ speed: 6 });
    for (const [code, errorClass, isEnd] of codes) {
      const before = await errorsOf(of, errorClass);
      const { reconnects } = (await of.wsStatus()) ?? { reconnects: 0 };
      await of.fault({ name: 'stream_error', code, count: 1 });
      if (isEnd) {
        await of.until(`${code} ends the session`, (status) => status.reconnects > reconnects, 20_000);
        await of.until(`${code}: up again`, ({ state }) => state === 'ready', 20_000);
        expect(await errorsOf(of, errorClass), `${code}`).toBe(before + 1);
      } else {
        await of.untilFault(`${code} was sent`, 'stream_error');
        expect((await of.wsStatus())?.reconnects, `${code} keeps the session`).toBe(reconnects);
      }
    }
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
  });

  test('upgrades refused with 401, 403, 406 and 429, auth refused with 402 and 406', async () => {
    const of = newRig();
    await of.startSimulator();
    const path = '/v2/sip';
    for (const status of [401, 403, 406]) await of.fault({ name: 'upgrade_refused', status, count: 1, path });
    for (const name of ['upgrade_429', 'auth_402', 'connection_406']) await of.fault({ name, count: 1, path });
    of.run();
    of.startWs();
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(await errorsOf(of, 'alpaca_auth')).toBe(3);
    expect(await errorsOf(of, 'alpaca_406_second_connection')).toBe(2);
    expect(await errorsOf(of, 'rate_limited')).toBe(1);
  });

  test('sockets cut in the middle of a frame, in JSON and in MessagePack', async () => {
    // Each encoding on every other day; both at full count.
    const encodings = ['json', 'msgpack'];
    const today = encodings[Math.floor(Date.now() / 86_400_000) % 2] as string;
    for (const encoding of process.env.TORGHUT_TEST_FULL ? encodings : [today]) {
      const of = await begin({ env: { ALPACA_STREAM_ENCODING: encoding } });
      await of.fault({ name: 'drop_mid_frame', count: 4, probability: 0.05 });
      await of.untilMarket(startNs + 125n * second);
      await expectWhole(of, { raw: readRaw(smoke) });
      expect((await of.wsStatus())?.reconnects ?? 0).toBeGreaterThan(0);
      await of.close();
      rig = undefined;
    }
  });

  test('silence on an open socket that answers pings', async () => {
    const of = await begin();
    await of.untilMarket(startNs + 10n * second);
    await of.fault({ name: 'silent', count: 1 });
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(await errorsOf(of, 'read_idle')).toBeGreaterThanOrEqual(1);
  });

  test('a slow reader, silently further and further behind: found by age, replaced, repaired', async () => {
    // Slow enough that the data keep flowing: a stream without any for five market seconds is found by the silence check.
    const of = await begin({ speed: 8, env: { INGEST_MAX_AGE_MS: '10000' } });
    await of.untilMarket(startNs + 10n * second);
    await of.fault({ name: 'behind', count: 1, rate: 0.35 });
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(await errorsOf(of, 'stale_data')).toBeGreaterThanOrEqual(1);
    const told = (await of.records('status')).map(
      ({ value }) => (JSON.parse(String(value)) as { payload: { error_class: string | null; status: string } }).payload,
    );
    expect(told).toContainEqual(expect.objectContaining({ error_class: 'stale_data', status: 'degraded' }));
  });

  test.each([4_000, -4_000])(
    'a clock that is off by %i ms: everything arrives with the time that was sent',
    async (ms) => {
      const of = await begin();
      await of.untilMarket(startNs + 20n * second);
      await of.fault({ name: 'skew', ms });
      await of.untilMarket(startNs + 90n * second);
      await of.endFaults();
      await of.untilMarket(startNs + 125n * second);
      const raw = readRaw(smoke);
      await of.until(
        'all durable',
        ({ acknowledged, queued, gaps }) =>
          (acknowledged.trades ?? 0) + (acknowledged.quotes ?? 0) === raw.length && queued === 0 && gaps.open === 0,
      );
      const live = [
        ...payloads(await of.records('trades'), 'trades'),
        ...payloads(await of.records('quotes'), 'quotes'),
      ];
      // Everything once but for its time, and the time of every trade as it was sent.
      const timeless = (message: RawMessage) => ({ ...message, t: '' });
      expect(difference(live.map(timeless), raw.map(timeless))).toEqual({ extra: [], missing: [] });
      const times = new Map(
        raw.filter(({ T }) => T === 't').map((message) => [`${message.S} ${String(message.i)}`, message]),
      );
      const shifts = live
        .filter(({ T }) => T === 't')
        .map((trade) => Date.parse(trade.t) - Date.parse(times.get(`${trade.S} ${String(trade.i)}`)?.t ?? ''));
      expect([...new Set(shifts)].sort()).toEqual([0, ms].sort());
      expect(await of.records('dlq')).toEqual([]);
    },
  );

  test('a clock that is 6 s ahead for a moment: those messages are in the dead-letter topic, as they were sent', async () => {
    const of = await begin();
    await of.untilMarket(startNs + 20n * second);
    await of.fault({ name: 'skew', ms: 6_000, count: 10 });
    await of.untilMarket(startNs + 125n * second);
    const raw = readRaw(smoke);
    await of.until('all received', ({ received }) => (received.trades ?? 0) + (received.quotes ?? 0) === raw.length);
    await of.until('all durable', ({ queued, gaps }) => queued === 0 && gaps.open === 0);
    const dead = (await of.records('dlq')).map(
      ({ value }) => JSON.parse(String(value)) as { reason: string; raw: string },
    );
    expect(dead.length).toBeGreaterThan(0);
    expect(new Set(dead.map(({ reason }) => reason))).toEqual(new Set(['invalid_event_ts']));
    const backAgain = dead.map((letter) => moved(JSON.parse(letter.raw) as RawMessage, -6_000));
    const live = [...payloads(await of.records('trades'), 'trades'), ...payloads(await of.records('quotes'), 'quotes')];
    const ticks = backAgain.filter(({ T }) => T === 't' || T === 'q');
    const sameText = (message: RawMessage) => moved(message, 0);
    expect(difference([...live, ...ticks].map(sameText), raw.map(sameText))).toEqual({ extra: [], missing: [] });
  });

  test('no key and no secret in any output, topic or file, over refused credentials, an outage and a kill', async () => {
    const [key, secret] = [`SIM-${randomBytes(12).toString('hex')}`, randomBytes(24).toString('hex')];
    const of = newRig({
      env: { APCA_API_KEY_ID: key, APCA_API_SECRET_KEY: secret, LOG_LEVEL: 'trace', TORGHUT_ACCOUNT_LABEL: 'PAPER-A' },
    });
    await of.startSimulator();
    for (const fault of [
      { name: 'upgrade_refused', status: 401, count: 2 },
      { name: 'auth_402', count: 2 },
      { name: 'connection_406', count: 1 },
    ]) {
      await of.fault(fault);
    }
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    of.run();
    await of.fault({ name: 'stream_error', code: 402, count: 1 });
    await of.fault({ name: 'http_500', count: 2 });
    await of.untilMarket(startNs + 60n * second);
    const words = [await of.metrics(), JSON.stringify(await of.wsStatus()), await of.page('/readyz')];
    await of.kill('ws');
    of.startWs();
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    await of.kill('ws', 'SIGTERM');
    words.push(of.stderr.ws, of.stdout.ws);
    for (const topic of [
      'trades',
      'quotes',
      'bars',
      'status',
      'tradeUpdates',
      'tradeUpdatesV2',
      'repair',
      'dlq',
    ] as const) {
      for (const { key: name, value, headers } of await of.records(topic)) {
        words.push(`${name} ${String(value)} ${JSON.stringify(headers)}`);
      }
    }
    for (const name of readdirSync(of.home, { recursive: true, withFileTypes: true })) {
      if (name.isFile()) words.push(readFileSync(join(name.parentPath, name.name)).toString('latin1'));
    }
    expect(of.stderr.ws).toContain('"errorClass":"alpaca_auth"');
    expect(words.length).toBeGreaterThan(5_000);
    for (const text of words) {
      for (const hidden of [key, secret])
        if (text.includes(hidden)) throw new Error(`shown: ${text.slice(0, 300).replaceAll(hidden, '***')}`);
    }
  });

  test('what stands behind the open transaction of another shard is waited for, for a bounded time', async () => {
    const log = await openEventLog({ home: tmpdir(), env: { KAFKA_BOOTSTRAP: kafka.bootstrap }, clock: systemClock() });
    const at = { topic: 'open-transaction', partition: 0 };
    await log.ensureTopics([{ name: at.topic, partitions: 1, cleanup: 'delete', retentionMs: -1, owner: 'mine' }]);
    const client = new kafkajs.Kafka({ brokers: [kafka.bootstrap], logLevel: kafkajs.logLevel.NOTHING });
    const dead = client.producer({ transactionalId: 'dead', idempotent: true, maxInFlightRequests: 1 });
    await dead.connect();
    const open = await dead.transaction();
    await open.send({ topic: at.topic, messages: [{ value: 'theirs', partition: 0 }] });
    const writer = await log.openWriter({ owner: 'mine' });
    await writer.commit({ records: [{ ...at, key: null, value: Buffer.from('mine'), timestampMs: 1 }] });
    const latest = async () => (await log.describeTopics([at.topic]))[0]?.partitions[0]?.latest;
    expect(await latest()).toBe(0n);
    // Half a second, less the time in which the broker looks for such transactions.
    expect(await waitForOpenTransactions(log, [at], 500 - 10_000)).toBe(false);
    let isOver = false;
    const waiting = waitForOpenTransactions(log, [at], 60_000).finally(() => {
      isOver = true;
    });
    await delay(500);
    expect(isOver).toBe(false);
    await open.abort();
    expect(await waiting).toBe(true);
    expect(await latest()).toBeGreaterThan(1n);
    await Promise.all([writer.close(), dead.disconnect()]);
    await log.close();
  });

  test('two shards: together the raw file, once each, and the death of one does not disturb the other', async () => {
    // The simulator grants one connection to a key.
    const shard = (index: number) => ({
      SHARD_COUNT: '2', SHARD_INDEX: String(index), ALPACA_CONNECTION_LIMIT: '2', APCA_API_KEY_ID: `SIM-SHARD-${index}`,
    }); // biome-ignore format: one list
    const of = newRig({ env: shard(0) });
    await of.startSimulator();
    const other = besideRig(of, shard(1));
    try {
      const both = [of, other];
      for (const one of both) one.startWs();
      for (const one of both) await one.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
      of.run();
      await of.untilMarket(startNs + 40n * second);
      await other.kill('ws');
      other.startWs();
      await of.untilMarket(startNs + 125n * second);
      const raw = readRaw(smoke);
      const partOf = (index: number) => raw.filter(({ S }) => shardOf(S, 2) === index);
      const shards = both.map((one, index) => ({ of: one, raw: partOf(index) }));
      for (const part of shards) expect(part.raw.length).toBeGreaterThan(500);
      await expectWhole(of, { raw, shards });
      const written = [...(await of.records('trades')), ...(await of.records('quotes'))];
      for (const { headers, value } of written) {
        const { symbol, channel } = JSON.parse(String(value)) as { symbol: string; channel: string };
        // Each shard tells its progress in every partition.
        if (channel !== 'progress') expect(headers.shard, symbol).toBe(`${shardOf(symbol, 2)}/2`);
      }
      expect(other.wsEnds).toEqual([null]);
      expect(of.wsEnds).toEqual([]);
      expect((await of.wsStatus())?.reconnects).toBe(0);
      expect(of.stderr.ws).not.toContain('a commit failed');
    } finally {
      await other.close();
    }
  });

  test('kill -9 of ws, twice', async () => {
    const of = await begin();
    for (const at of [30n, 70n]) {
      await of.untilMarket(startNs + at * second);
      await of.kill('ws');
      of.startWs();
    }
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(of.wsEnds).toEqual([null, null]);
  });
});

/** The `t` of a message moved by ms, written as the simulator's fault writes it: without trailing zeros. */
function moved(message: RawMessage, ms: number): RawMessage {
  const at = new Date(Date.parse(message.t) + ms).toISOString();
  return { ...message, t: at.replace(/\.?0+Z$/, 'Z') };
}
