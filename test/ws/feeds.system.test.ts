/** The feeds beside v2: the night's stream and crypto, in JSON and MessagePack, whole over a death of ws. */
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { difference, payloads, type RawMessage, Rig, readRaw } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const second = 1_000_000_000n;
let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

const headers = { 'APCA-API-KEY-ID': 'SIM-TEST', 'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET' };

test('crypto in MessagePack: stream and history agree, no session is claimed', async () => {
  const begin = '2026-03-14T12:00:00Z';
  const startNs = BigInt(Date.parse(begin)) * 1_000_000n;
  rig = new Rig({
    data: [],
    startNs,
    symbols: ['BTC/USD'],
    speed: 20,
    simulatorArgs: ['--synthetic', '3', '--symbols', 'SPY'],
    env: { ALPACA_MARKET_TYPE: 'crypto', ALPACA_STREAM_ENCODING: 'msgpack' },
  });
  const of = rig;
  await of.startSimulator();
  of.startWs();
  await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
  of.run();
  await of.untilMarket(startNs + 40n * second);
  await of.kill('ws');
  of.startWs();
  await of.untilMarket(startNs + 120n * second);
  of.clock.setSpeed(0);
  const history = async (kind: 'trades' | 'quotes') => {
    const query = new URLSearchParams({ symbols: 'BTC/USD', start: begin, limit: '10000' });
    const answer = await fetch(`${of.url}/v1beta3/crypto/us/${kind}?${query}`, { headers });
    return ((await answer.json()) as Record<string, Record<string, RawMessage[]>>)[kind]?.['BTC/USD'] ?? [];
  };
  const want = { trades: await history('trades'), quotes: await history('quotes') };
  expect(want.trades.length).toBeGreaterThan(5);
  await of.until(
    'all acknowledged',
    ({ acknowledged, gaps, queued }) =>
      (acknowledged.trades ?? 0) >= want.trades.length &&
      (acknowledged.quotes ?? 0) >= want.quotes.length &&
      gaps.open === 0 &&
      queued === 0,
  );
  for (const channel of ['trades', 'quotes'] as const) {
    const records = await of.records(channel);
    const bare = payloads(records, channel).map(({ T: _T, S: _S, ...rest }) => rest as RawMessage);
    expect(difference(bare, want[channel]), channel).toEqual({ extra: [], missing: [] });
    const sessions = records.map(({ value }) => JSON.parse(String(value)) as { market_session: unknown; feed: string });
    expect(new Set(sessions.map(({ market_session }) => market_session))).toEqual(new Set([null]));
    expect(new Set(sessions.map(({ feed }) => feed))).toEqual(new Set(['us']));
  }
});

test.skipIf(!folder)(
  'the night’s stream: its own path, its history under the name of the venue (needs TORGHUT_DATA)',
  async () => {
    const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
    const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;
    rig = new Rig({
      data: [smoke],
      startNs,
      symbols: ['AIG', 'BAC', 'IBM', 'SPY'],
      speed: 20,
      env: { ALPACA_FEED: 'overnight' },
    });
    const of = rig;
    await of.startSimulator();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    of.run();
    await of.untilMarket(startNs + 40n * second);
    await of.kill('ws');
    of.startWs();
    await of.untilMarket(startNs + 125n * second);
    const raw = readRaw(smoke);
    await of.until(
      'all acknowledged',
      ({ acknowledged, gaps }) =>
        (acknowledged.trades ?? 0) + (acknowledged.quotes ?? 0) >= raw.length && gaps.open === 0,
    );
    const got = [...payloads(await of.records('trades'), 'trades'), ...payloads(await of.records('quotes'), 'quotes')];
    expect(difference(got, raw)).toEqual({ extra: [], missing: [] });
  },
);
