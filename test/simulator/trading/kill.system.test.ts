/**
 * kill -9 of the simulator while orders are sent and filled: what was answered or told is there afterwards, nothing is
 * there twice, and the books still add up.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { seededRandom } from '../../../src/simulator/random.ts';
import { KEY, SECRET, temporaryFolder } from './test-exchange.ts';

const rounds = process.env.TORGHUT_TEST_FULL ? 40 : 5;
const seed = Number(process.env.TORGHUT_TEST_SEED ?? 11);
const headers = { 'APCA-API-KEY-ID': KEY, 'APCA-API-SECRET-KEY': SECRET };
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
});

async function start(folder: string): Promise<{ child: ChildProcess; url: string }> {
  const script = join(import.meta.dirname, 'exchange-process.ts');
  const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  if (!child.stdout) throw new Error('no stdout');
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, url: `http://127.0.0.1:${line}` };
}

interface Wire {
  id: string;
  client_order_id: string;
  status: string;
  qty: string;
  filled_qty: string;
  side: 'buy' | 'sell';
  symbol: string;
}

async function ask<T>(url: string): Promise<T> {
  return (await (await fetch(url, { headers })).json()) as T;
}

it(`nothing that was answered or told is lost or doubled (seed ${seed}, ${rounds} kills)`, async () => {
  const folder = temporaryFolder();
  const random = seededRandom(seed);
  const sent = new Set<string>();
  const answered = new Map<string, string>();
  const refused = new Set<string>();
  const told = new Map<string, { order: Wire; qty: string }>();
  try {
    for (let round = 0; round < rounds; round++) {
      const { child, url } = await start(folder.path);
      const socket = new WebSocket(`${url.replace('http', 'ws')}/stream`);
      socket.on('error', () => undefined);
      socket.on('open', () => {
        socket.send(JSON.stringify({ action: 'auth', key: KEY, secret: SECRET }));
        socket.send(JSON.stringify({ action: 'listen', data: { streams: ['trade_updates'] } }));
      });
      socket.on('message', (data) => {
        const { stream, data: update } = JSON.parse(data.toString());
        if (stream === 'trade_updates' && update.price) told.set(update.execution_id, update);
      });
      // By progress, not by the clock: a loaded machine answers slowly. The jitter moves the kill inside a request.
      const wanted = answered.size + random.integer(10, 60);
      const jitterMs = random.integer(0, 15);
      let isKilled = false;
      const send = async (lane: number) => {
        for (let n = 0; !isKilled; n++) {
          const id = `r${round}-${lane}-${n}`;
          const side = random.chance(0.5) ? 'buy' : 'sell';
          const body = { symbol: 'IBM', side, type: 'market', time_in_force: 'day', qty: '3', client_order_id: id };
          sent.add(id);
          const response = await fetch(`${url}/v2/orders`, { method: 'POST', headers, body: JSON.stringify(body) });
          const answer = (await response.json()) as Wire;
          if (response.status === 200) answered.set(id, answer.id);
          else refused.add(id);
          if (answered.size >= wanted) setTimeout(() => child.kill('SIGKILL'), jitterMs);
        }
      };
      child.once('exit', () => {
        isKilled = true;
      });
      const lanes = [0, 1, 2].map((lane) => send(lane).catch(() => undefined));
      if (!isKilled) await once(child, 'exit');
      await Promise.all(lanes);
      socket.terminate();
    }
    const { child, url } = await start(folder.path);
    const orders = new Map<string, Wire>();
    for (let last: string | undefined; ; ) {
      const after = last ? `&after_order_id=${last}` : '';
      const page = await ask<Wire[]>(`${url}/v2/orders?status=all&direction=asc&limit=500${after}`);
      for (const order of page) {
        expect(orders.has(order.client_order_id), 'no client order id twice').toBe(false);
        orders.set(order.client_order_id, order);
      }
      last = page.at(-1)?.id;
      if (page.length < 500) break;
    }
    expect(answered.size).toBeGreaterThan(rounds * 5);
    for (const [clientId, id] of answered) expect(orders.get(clientId)?.id).toBe(id);
    for (const clientId of refused) expect(orders.has(clientId)).toBe(false);
    for (const clientId of orders.keys()) expect(sent.has(clientId)).toBe(true);

    const { entries } = await ask<{ entries: JournalLine[] }>(`${url}/_sim/journal?limit=10000`);
    const fills = entries.flatMap((entry) => (entry.fill ? [entry.fill] : []));
    expect(new Set(fills.map((fill) => fill.execution_id)).size).toBe(fills.length);
    expect(told.size).toBeGreaterThan(rounds);
    for (const [executionId, update] of told) {
      expect(fills.find((fill) => fill.execution_id === executionId)).toMatchObject({
        qty: update.qty,
        order_id: update.order.id,
      });
    }
    const received = entries.filter((entry) => entry.kind === 'post_received').map((entry) => entry.client_order_id);
    expect(new Set(received).size, 'every POST was received once').toBe(received.length);
    for (const order of orders.values()) {
      const own = fills.filter((fill) => fill.order_id === order.id).reduce((sum, fill) => sum + Number(fill.qty), 0);
      const now = await ask<Wire>(`${url}/v2/orders/${order.id}`);
      expect(Number(now.filled_qty)).toBeGreaterThanOrEqual(own);
    }
    child.kill('SIGKILL');
  } finally {
    folder.remove();
  }
});

interface JournalLine {
  kind: string;
  client_order_id?: string;
  fill?: { execution_id: string; order_id: string; qty: string };
}
