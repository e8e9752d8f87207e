/**
 * A synthetic market with late prints, corrections, halts, minute bars and their updates. A second simulator of the same seed on
 * the same clock is read by a bare socket: what it was sent is what the topics must hold.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { cliCommand } from '../../src/lib/service/cli-entry.ts';
import { difference, payloads, type RawMessage, Rig } from './rig.ts';

const seed = process.env.TORGHUT_SEED ?? '7';
const startNs = BigInt(Date.parse('2026-03-10T13:29:30Z')) * 1_000_000n;
const symbols = ['NVDA', 'AMD', 'SPY', 'AAPL'];

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Everything the other simulator sends, by a socket that only parses. */
async function readTwin(rig: Rig, args: string[]): Promise<RawMessage[]> {
  const home = mkdtempSync(join(tmpdir(), 'torghut-twin-'));
  const cli = cliCommand({});
  const child = spawn(cli.file, [...cli.args, 'simulator', '--home', home, '-o', 'json', ...args], {
    env: { ...process.env, TORGHUT_CLOCK: join(rig.home, 'clock') },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  closers.push(() => {
    child.kill('SIGKILL');
    rmSync(home, { recursive: true, force: true });
  });
  const port = await new Promise<number>((resolve) => {
    child.stdout.once('data', (data: Buffer) =>
      resolve((JSON.parse(data.toString().split('\n')[0] as string) as { port: number }).port),
    );
  });
  const messages: RawMessage[] = [];
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v2/sip`);
  closers.push(() => socket.terminate());
  await new Promise<void>((resolve) => {
    socket.on('message', (data: Buffer) => {
      for (const message of JSON.parse(data.toString()) as RawMessage[]) {
        if (message.T === 'success' && message.msg === 'connected') {
          socket.send(JSON.stringify({ action: 'auth', key: 'k', secret: 's' }));
        } else if (message.T === 'success') {
          const all = symbols;
          socket.send(
            JSON.stringify({
              action: 'subscribe',
              trades: all,
              quotes: all,
              bars: all,
              updatedBars: all,
              statuses: all,
              lulds: all,
            }),
          );
        } else if (message.T === 'subscription') resolve();
        else messages.push(message);
      }
    });
  });
  return messages;
}

const finalBars = (messages: RawMessage[]) => {
  const bars = new Map<string, RawMessage>();
  for (const bar of messages) {
    const { revision, T, ...content } = bar;
    const key = `${bar.S} ${bar.t}`;
    const known = bars.get(key);
    if (known === undefined || Number(revision ?? 0) >= Number(known.rev ?? 0)) {
      bars.set(key, { ...content, T: 'b', rev: Number(revision ?? 0) } as RawMessage);
    }
  }
  return [...bars.values()].map(({ rev, ...bar }) => bar as RawMessage);
};

test.each([{ kills: 0 }, { kills: 2 }])('every channel arrives whole, $kills kills of ws', async ({ kills }) => {
  const args = ['--synthetic', seed, '--symbols', symbols.join(',')];
  const rig = new Rig({
    data: [],
    startNs,
    symbols,
    speed: 30,
    simulatorArgs: args,
    env: {
      ALPACA_MARKET_DATA_CHANNELS: 'trades,quotes,bars,updatedBars,statuses,lulds,corrections,cancelErrors',
    },
  });
  closers.push(() => rig.close());
  await rig.startSimulator();
  const sent = await readTwin(rig, args);
  rig.startWs();
  await rig.until('ready', ({ state }) => state === 'ready');
  rig.run();
  for (let kill = 0; kill < kills; kill++) {
    await new Promise((resolve) => setTimeout(resolve, 1_700));
    await rig.kill('ws');
    rig.startWs();
  }
  await rig.untilMarket(startNs + 215_000_000_000n);
  rig.clock.setSpeed(0);
  const count = (type: string) => sent.filter((message) => message.T === type).length;
  await new Promise((resolve) => setTimeout(resolve, 500));
  await rig.until(
    `all acknowledged (${count('t')} trades, ${count('q')} quotes)`,
    ({ acknowledged, gaps, queued }) =>
      gaps.open === 0 && queued === 0 && acknowledged.trades === count('t') && acknowledged.quotes === count('q'),
    20_000,
  );
  const trades = await rig.records('trades');
  const whole = { extra: [], missing: [] };
  const ofType = (type: string) => sent.filter((message) => message.T === type);
  expect(count('t')).toBeGreaterThan(500);
  expect(difference(payloads(trades, 'trades'), ofType('t'))).toEqual(whole);
  expect(difference(payloads(await rig.records('quotes'), 'quotes'), ofType('q'))).toEqual(whole);
  const bars = await rig.records('bars');
  const got = [...payloads(bars, 'bars'), ...payloads(bars, 'updatedBars')];
  expect(count('b')).toBeGreaterThan(4);
  expect(
    difference(finalBars(got), finalBars([...ofType('b'), ...ofType('u').map((bar) => ({ ...bar, revision: 1 }))])),
  ).toEqual(whole);
  if (kills > 0) return;
  // Halts, LULD, corrections and cancels have no REST: whole only while nobody dies.
  expect(difference(payloads(trades, 'corrections'), ofType('c'))).toEqual(whole);
  expect(difference(payloads(trades, 'cancelErrors'), ofType('x'))).toEqual(whole);
  const status = (await rig.records('status')).filter((record) => !record.key?.startsWith('ws:'));
  const halts = payloads(status, 'status').map(({ component, ...rest }) => rest as RawMessage);
  expect(difference(halts, ofType('s'))).toEqual(whole);
  expect(difference(payloads(status, 'lulds'), ofType('l'))).toEqual(whole);
});
