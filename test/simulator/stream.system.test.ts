import { join } from 'node:path';
import { decode, encode } from '@msgpack/msgpack';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { parseTimestampNs } from '../../src/lib/market/time.ts';
import { ownClockFile } from '../../src/lib/service/clock.ts';
import { everyKind, writeNdjson } from './market-data.ts';
import {
  removeTemporaryFolders,
  type SimulatorProcess,
  StreamClient,
  startSimulator,
  temporaryFolder,
  waitFor,
} from './simulator-process.ts';

const clients: StreamClient[] = [];
let simulator: SimulatorProcess;

function connect(path = '/v2/sip', headers: Record<string, string> = {}, to = simulator): StreamClient {
  const client = new StreamClient(to, path, headers);
  clients.push(client);
  return client;
}

function endClients(): void {
  for (const client of clients.splice(0)) client.socket.terminate();
}

afterAll(removeTemporaryFolders);

describe('market stream of the simulator', () => {
  beforeAll(async () => {
    simulator = await startSimulator(['--synthetic', '3', '--speed', '30', '--auth-seconds', '0.5']);
  });
  afterEach(async () => {
    endClients();
    await fetch(`${simulator.url}/_sim/faults`, { method: 'DELETE' });
    // A slot is free once the server has seen the connection end.
    await waitFor(async () => ((await simulator.status()).connections === 0 ? true : undefined));
  });
  afterAll(() => simulator.end());

  it('greets, authenticates by message or header, and answers a subscription with the whole state', async () => {
    const client = connect();
    await client.authenticate();
    const first = await client.subscribe({ trades: ['AAPL'], bars: ['*'] });
    expect(first).toEqual({
      T: 'subscription',
      trades: ['AAPL'],
      quotes: [],
      bars: ['*'],
      updatedBars: [],
      dailyBars: [],
      statuses: [],
      lulds: [],
      corrections: ['AAPL'],
      cancelErrors: ['AAPL'],
    });
    const second = await client.subscribe({ trades: ['SPY'], quotes: ['SPY'] });
    expect([second.trades, second.quotes, second.corrections]).toEqual([['AAPL', 'SPY'], ['SPY'], ['AAPL', 'SPY']]);
    client.send({ action: 'unsubscribe', trades: ['AAPL'], bars: ['*'] });
    const third = await client.until(
      (message) => message.T === 'subscription' && (message.trades as string[])[0] === 'SPY',
    );
    expect([third.trades, third.bars, third.cancelErrors]).toEqual([['SPY'], [], ['SPY']]);
    await client.close();
    const byHeader = connect('/v2/sip', { 'APCA-API-KEY-ID': 'SIM1', 'APCA-API-SECRET-KEY': 'secret' });
    await byHeader.until((message) => message.msg === 'authenticated');
    expect(byHeader.messages.map((message) => message.msg)).toEqual(['connected', 'authenticated']);
  });

  it('sends only what was subscribed, in frames that hold several symbols and types, in release order', async () => {
    const client = await connect().authenticate();
    await client.subscribe({ trades: ['*'], quotes: ['AAPL', 'SPY'] });
    await waitFor(() => (client.messages.length > 400 ? true : undefined));
    const data = client.messages.filter((message) => 'S' in message);
    expect(new Set(data.map((message) => message.T)).size).toBeGreaterThan(1);
    for (const message of data) {
      if (message.T === 'q') expect(['AAPL', 'SPY']).toContain(message.S);
      expect(['t', 'q', 'c', 'x']).toContain(message.T);
    }
    const mixed = client.frames.map((frame) => JSON.parse(frame) as { T: string; S?: string }[]);
    expect(mixed.some((frame) => new Set(frame.map((message) => `${message.T}${message.S}`)).size > 2)).toBe(true);
  });

  it('names each mistake with its code and goes on', async () => {
    const client = connect();
    await client.until((message) => message.msg === 'connected');
    client.send({ action: 'subscribe', trades: ['AAPL'] });
    await client.error(401);
    client.send({ action: 'auth', key: '', secret: '' });
    expect((await client.error(402)).msg).toBe('auth failed');
    client.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await client.until((message) => message.msg === 'authenticated');
    client.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    expect((await client.error(403)).msg).toBe('already authenticated');
    for (const bad of [
      'not json',
      '[1]',
      { action: 'subscribe' },
      { action: 'dance' },
      { action: 'subscribe', trades: 'AAPL' },
    ]) {
      const before = client.messages.filter((message) => message.code === 400).length;
      client.send(bad);
      await waitFor(() =>
        client.messages.filter((message) => message.code === 400).length > before ? true : undefined,
      );
    }
    client.send({ action: 'subscribe', orderbooks: ['AAPL'] });
    await client.error(410);
    expect((await client.subscribe({ trades: ['AAPL'] })).trades).toEqual(['AAPL']);
  });

  it('drops a connection that does not authenticate in time, with 404', async () => {
    const client = connect();
    expect((await client.error(404)).msg).toBe('auth timeout');
    await waitFor(() => client.closeCode);
  });

  it('a second session of the key gets 406 at auth on every endpoint of its own, and may retry on the same socket', async () => {
    const first = await connect().authenticate();
    const second = connect();
    await second.until((message) => message.msg === 'connected');
    second.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await second.error(406);
    await connect('/v2/test').authenticate();
    await connect('/v2/sip').authenticate('SIM2');
    await first.close();
    second.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await second.until((message) => message.msg === 'authenticated');
  });

  it('answers a ping behind everything that was public when the ping came', async () => {
    const client = await connect().authenticate();
    await client.subscribe({ trades: ['*'], quotes: ['*'] });
    for (let round = 0; round < 20; round++) {
      const pongs = client.happened.filter((what) => what === 'pong').length;
      // `reached` is what market now had reached before the ping was sent.
      const { reached } = await simulator.status();
      client.socket.ping();
      await waitFor(() => (client.happened.filter((what) => what === 'pong').length > pongs ? true : undefined));
      const times = client.messages.filter((message) => message.T === 'q').map((message) => String(message.t));
      const sentUntil = times.at(-1) ?? '';
      const seen = times.length;
      await waitFor(() => (client.messages.filter((message) => message.T === 'q').length > seen ? true : undefined));
      const next = client.messages.filter((message) => message.T === 'q')[seen] as unknown as { t: string };
      expect(
        padded(next.t) > padded(reached),
        `${next.t} came after the pong but was public at ${reached} (${sentUntil})`,
      ).toBe(true);
    }
  });

  it('serves FAKEPACA on the test stream and crypto with fractional sizes on its own', async () => {
    const test = await connect('/v2/test').authenticate();
    await test.subscribe({ trades: ['FAKEPACA'], quotes: ['FAKEPACA'] });
    const crypto = await connect('/v1beta3/crypto/us').authenticate();
    await crypto.subscribe({ trades: ['BTC/USD'] });
    expect((await test.until((message) => message.T === 't')).S).toBe('FAKEPACA');
    const trade = await crypto.until((message) => message.T === 't');
    expect(Object.keys(trade).sort()).toEqual(['S', 'T', 'i', 'p', 's', 't', 'tks']);
    crypto.send({ action: 'subscribe', lulds: ['BTC/USD'] });
    await crypto.error(410);
  });

  it('faults strike by name and count: refused auth, refused upgrade, an error code, a cut frame, silence, slowness, skew', async () => {
    await simulator.fault({ name: 'auth_402', count: 1 });
    const refused = connect();
    await refused.until((message) => message.msg === 'connected');
    refused.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await refused.error(402);
    refused.socket.terminate();
    await simulator.fault({ name: 'upgrade_429', count: 1 });
    const status = await new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${simulator.port}/v2/sip`);
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      socket.on('error', () => undefined);
    });
    expect(status).toBe(429);
    const all = { trades: ['*'], quotes: ['*'] };
    const open = async () => {
      const client = await connect('/v2/sip').authenticate(`SIM-${clients.length}`);
      await client.subscribe(all);
      return client;
    };
    await simulator.fault({ name: 'stream_error', code: 500, count: 1 });
    const failed = await open();
    await failed.error(500);
    await waitFor(() => failed.closeCode);
    await simulator.fault({ name: 'drop_mid_frame', count: 1 });
    const cut = await open();
    expect(await waitFor(() => cut.closeCode)).toBe(1006);
    await simulator.fault({ name: 'skew', ms: 3_600_000, count: 1 });
    const skewed = await open();
    const [early, late] = [
      await skewed.until((message) => 'S' in message),
      await waitFor(() => skewed.messages.filter((message) => 'S' in message).at(-1)),
    ];
    expect(padded(String(early.t)) > padded(String(late.t)) || skewed.messages.length > 3).toBe(true);
    skewed.socket.terminate();
    await simulator.fault({ name: 'slow', delay_ms: 400, count: 1 });
    const slow = await open();
    const started = performance.now();
    await slow.until((message) => 'S' in message);
    expect(performance.now() - started).toBeGreaterThan(250);
    slow.socket.terminate();
    await simulator.fault({ name: 'silent', count: 1 });
    const silent = await open();
    silent.socket.ping();
    await waitFor(() => (silent.happened.includes('pong') ? true : undefined));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(silent.messages.filter((message) => 'S' in message)).toEqual([]);
    expect(silent.closeCode).toBeUndefined();
  });

  it('speaks MessagePack on request: T first, t as the timestamp extension to the nanosecond', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${simulator.port}/v2/sip`, {
      headers: { 'Content-Type': 'application/msgpack' },
    });
    const messages: Record<string, unknown>[] = [];
    const raw: Buffer[] = [];
    socket.on('message', (data: Buffer, isBinary) => {
      expect(isBinary).toBe(true);
      raw.push(data);
      messages.push(...(decode(data) as Record<string, unknown>[]));
    });
    await waitFor(() => messages.find((message) => message.msg === 'connected'));
    socket.send(encode({ action: 'auth', key: 'SIM9', secret: 'secret' }));
    await waitFor(() => messages.find((message) => message.msg === 'authenticated'));
    socket.send(encode({ action: 'subscribe', trades: ['*'] }));
    const trade = await waitFor(() => messages.find((message) => message.T === 't'));
    expect(Object.keys(trade)[0]).toBe('T');
    expect(trade.t).toBeInstanceOf(Date);
    // Extension type -1 with 8 bytes (0xd7 0xff) holds seconds and nanoseconds.
    expect(raw.some((frame) => frame.includes(Buffer.from([0xa1, 0x74, 0xd7, 0xff])))).toBe(true);
    socket.terminate();
  });
});

/** Nine digits, so that texts compare as times. */
function padded(time: string): string {
  const [whole, fraction = ''] = time.replace('Z', '').split('.');
  return `${whole}.${fraction.padEnd(9, '0')}`;
}

describe('the stream carries the source', () => {
  afterEach(async () => {
    endClients();
    await simulator.end();
  });

  it('every line byte for byte, each once, bars a minute and updates half a minute later', async () => {
    const path = writeNdjson(everyKind);
    simulator = await startSimulator(['--data', path, '--speed', '100']);
    const client = await connect().authenticate();
    await client.subscribe({
      trades: ['*'],
      quotes: ['*'],
      bars: ['*'],
      updatedBars: ['*'],
      statuses: ['*'],
      lulds: ['*'],
      imbalances: ['*'],
    });
    await waitFor(async () => ((await simulator.status()).end_of_input ? true : undefined));
    await waitFor(() => client.messages.find((message) => message.i === 53));
    const text = client.frames.join('\n');
    const missed = everyKind.filter((line) => !text.includes(line));
    // The first half second of the market may pass before the subscription stands.
    expect(missed.length, missed.join('\n')).toBeLessThanOrEqual(3);
    for (const line of everyKind.slice(3)) expect(text.split(line).length - 1, line).toBe(1);
    const order = client.messages
      .filter((message) => 'S' in message)
      .map((message) => message.T)
      .join('');
    expect(order.endsWith('slcxisbut')).toBe(true);
    const status = await simulator.status();
    expect(status.last_event_ts).toBe('2026-03-10T14:32:00Z');
    expect(status.input).toMatchObject({
      trades: 3,
      quotes: 1,
      bars: 1,
      updated_bars: 1,
      statuses: 2,
      corrections: 1,
      cancels: 1,
    });
  });

  it('after kill -9 it goes on at market now; what passed meanwhile is in the history only', async () => {
    const home = temporaryFolder();
    const args = ['--synthetic', '5', '--speed', '20', '--home', home];
    simulator = await startSimulator(args);
    const first = await connect().authenticate();
    await first.subscribe({ trades: ['AAPL', 'SPY'] });
    await waitFor(
      () => (first.messages.filter((message) => message.T === 't').length > 100 ? true : undefined),
      30_000,
    );
    const before = await simulator.status();
    await simulator.end('SIGKILL');
    await waitFor(() => first.closeCode);
    simulator = await startSimulator(args);
    const after = await simulator.status();
    expect(padded(after.market_now) >= padded(before.market_now)).toBe(true);
    expect(after.input.trades).toBeGreaterThanOrEqual(before.input.trades ?? 0);
    const second = await connect().authenticate();
    await second.subscribe({ trades: ['AAPL', 'SPY'] });
    const fresh = await second.until((message) => message.T === 't', 30_000);
    expect(padded(String(fresh.t)) >= padded(before.market_now).slice(0, 15)).toBe(true);
    // The stream of the first life is found in the history, byte for byte, and nothing twice.
    const seen = first.messages.filter((message) => message.T === 't' && message.S === 'SPY');
    const history = await simulator.get('/v2/stocks/SPY/trades?start=2026-03-10&limit=10000');
    const items = (JSON.parse(history.body) as { trades: { i: number; p: number; t: string }[] }).trades;
    const byId = new Map(items.map((item) => [item.i, item]));
    expect(byId.size).toBe(items.length);
    for (const trade of seen) expect(byId.get(trade.i as number)).toMatchObject({ p: trade.p, t: trade.t });
  });

  it('with a clock file given it follows that file: stands with it, runs with it, stands when its owner is gone', async () => {
    const file = join(temporaryFolder(), 'clock');
    const owner = ownClockFile(file, parseTimestampNs('2026-03-10T14:30:00Z') as bigint, 0);
    simulator = await startSimulator(['--data', writeNdjson(everyKind)], { TORGHUT_CLOCK: file });
    const client = await connect().authenticate();
    await client.subscribe({ trades: ['*'], quotes: ['*'], statuses: ['*'] });
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect((await simulator.status()).market_now).toBe('2026-03-10T14:30:00Z');
    owner.setSpeed(40);
    const renewing = setInterval(() => owner.renew(), 20);
    await client.until((message) => message.T === 's');
    clearInterval(renewing);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const stood = await simulator.status();
    const count = client.messages.length;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await simulator.status()).market_now).toBe(stood.market_now);
    expect(client.messages.length).toBe(count);
    // From a standing start nothing is missed: the very first message of the file is there.
    const lines = everyKind.filter((line) => /^\{"T":"[tq]"/.test(line) && line.includes('14:30:'));
    for (const line of lines) expect(client.frames.join('')).toContain(line);
    owner.close();
  });

  it('a client that does not read gets dropped while others go on', async () => {
    simulator = await startSimulator(['--synthetic', '2', '--speed', '1000', '--slow-client-bytes', '20000']);
    const slow = await connect().authenticate('SIM-slow');
    const quick = await connect().authenticate('SIM-quick');
    for (const client of [slow, quick]) await client.subscribe({ trades: ['*'], quotes: ['*'] });
    slow.socket.pause();
    await waitFor(async () => ((await simulator.status()).connections === 1 ? true : undefined), 60_000);
    slow.socket.resume();
    await waitFor(() => slow.closeCode);
    expect(quick.closeCode).toBeUndefined();
    const count = quick.messages.length;
    await waitFor(() => (quick.messages.length > count ? true : undefined));
  });

  it('delayed_sip shows the tape fifteen market minutes late, by stream and by history', async () => {
    const path = writeNdjson(everyKind);
    simulator = await startSimulator(['--data', path, '--speed', '400']);
    const client = await connect('/v2/delayed_sip').authenticate();
    await client.subscribe({ trades: ['*'] });
    await waitFor(async () => ((await simulator.status()).end_of_input ? true : undefined));
    expect(client.messages.filter((message) => message.T === 't')).toEqual([]);
    expect((await simulator.get('/v2/stocks/trades?symbols=AAA&feed=delayed_sip')).body).toContain('"trades":{}');
    await client.until((message) => message.i === 53);
    expect((await simulator.get('/v2/stocks/trades?symbols=AAA&feed=delayed_sip')).body).toContain('"p":10.020');
  });

  it('the free plan has no sip and thirty symbols; an uncleanly dropped session haunts its slot', async () => {
    simulator = await startSimulator(['--synthetic', '2', '--plan', 'free', '--ghost-seconds', '0.6']);
    const sip = connect('/v2/sip');
    await sip.until((message) => message.msg === 'connected');
    sip.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    expect((await sip.error(409)).msg).toBe('insufficient subscription');
    const iex = await connect('/v2/iex').authenticate();
    const names = Array.from({ length: 15 }, (_, i) => `S${i}`);
    await iex.subscribe({ trades: names, quotes: names });
    iex.send({ action: 'subscribe', trades: ['ONEMORE'] });
    await iex.error(405);
    expect((await iex.subscribe({ bars: ['ONEMORE'] })).trades).toEqual(names);
    iex.socket.terminate();
    await waitFor(async () => ((await simulator.status()).connections === 0 ? true : undefined));
    const again = connect('/v2/iex');
    await again.until((message) => message.msg === 'connected');
    again.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await again.error(406);
    await new Promise((resolve) => setTimeout(resolve, 700));
    again.send({ action: 'auth', key: 'SIM1', secret: 'secret' });
    await again.until((message) => message.msg === 'authenticated');
    again.socket.terminate();
  });
});
