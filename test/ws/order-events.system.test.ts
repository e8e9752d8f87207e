/** Order events of the simulator in both topics, once each, over a kill of ws and repeated deliveries. */
import { afterEach, expect, test } from 'vitest';
import { openJournal } from '../../src/daemons/ws/journal.ts';
import { Slots } from '../../src/daemons/ws/records.ts';
import { recover } from '../../src/daemons/ws/recovery.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import { allTopicSpecs, defaultTopics } from '../../src/lib/log/topics.ts';
import { Rig } from './rig.ts';

const startNs = BigInt(Date.parse('2026-03-10T13:29:30Z')) * 1_000_000n;
let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

interface OrderEvent {
  event: string;
  order: { id: string; client_order_id: string };
}

test('each event once in both topics, with the account in the second, though the provider repeats itself and ws dies', async () => {
  rig = new Rig({
    data: [],
    startNs,
    symbols: ['SPY'],
    speed: 20,
    simulatorArgs: ['--synthetic', '7', '--symbols', 'SPY'],
    env: { TORGHUT_ACCOUNT_LABEL: 'PAPER-A' },
  });
  const of = rig;
  await of.startSimulator();
  of.startWs();
  const listening = (status: unknown) => (status as { orders_state?: string }).orders_state === 'ready';
  await of.until('listening', listening);
  of.run();
  await of.untilMarket(startNs + 40_000_000_000n);
  await of.fault({ name: 'updates_duplicate', count: 2 });
  const order = async (id: string) => {
    const answer = await fetch(`${of.url}/v2/orders`, {
      method: 'POST',
      headers: {
        'APCA-API-KEY-ID': 'SIM-TEST',
        'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET',
        'content-type': 'application/json',
      },
      body: JSON.stringify({
        symbol: 'SPY',
        qty: '1',
        side: 'buy',
        type: 'market',
        time_in_force: 'day',
        client_order_id: id,
      }),
    });
    expect(answer.status).toBe(200);
  };
  await order('one');
  await order('two');
  await of.until('received', ({ received }) => (received.trade_updates ?? 0) >= 4);
  // Right after the receipt: what is not yet committed is in the journal.
  await of.kill('ws');
  of.startWs();
  await of.until('listening again', listening);
  await order('three');
  const status = await of.until(
    'all durable',
    ({ acknowledged, queued }) => (acknowledged.trade_updates ?? 0) >= 6 && queued === 0,
  );
  const v1 = (await of.records('tradeUpdates')).map(
    (record) => JSON.parse(String(record.value)) as { seq: number; payload: OrderEvent },
  );
  const v2 = (await of.records('tradeUpdatesV2')).map(
    (record) =>
      JSON.parse(String(record.value)) as {
        seq: number;
        account_label: string;
        payload: OrderEvent & { account_label: string };
      },
  );
  const names = v2.map(({ payload }) => `${payload.order.client_order_id} ${payload.event}`);
  expect(new Set(names).size).toBe(names.length);
  for (const id of ['one', 'two', 'three']) expect(names).toContain(`${id} fill`);
  expect(status.acknowledged.trade_updates).toBe(v2.length);
  expect(v2.every((record) => record.account_label === 'PAPER-A' && record.payload.account_label === 'PAPER-A')).toBe(
    true,
  );
  const strip = ({ payload, seq }: { seq: number; payload: OrderEvent }) => {
    const { account_label: _, ...rest } = payload as OrderEvent & { account_label?: string };
    return JSON.stringify({ seq, ...rest });
  };
  expect(v1.map(strip).sort()).toEqual(v2.map(strip).sort());
});

test('a journal entry counts as lost exactly when its record is not in the log', async () => {
  rig = new Rig({ data: [], startNs, symbols: ['A'], speed: 0 });
  const log = await openEventLog({ home: rig.home, env: {}, clock: rig.clock });
  await log.ensureTopics(allTopicSpecs({ clock: 'virtual' }));
  const writer = await log.openWriter({ owner: 'ws' });
  const { journal } = openJournal(`${rig.home}/spool`, 'e1');
  const at = rig.clock.nowMs();
  const put = async (topic: string, number: number) => {
    const value = Buffer.from(JSON.stringify({ event_ts: 'x', channel: 'status', symbol: 'A', seq: 41, payload: {} }));
    const headers = { spool_id: journal.idOf(number), counts: 'statuses=3', mark: '7' };
    await writer.commit({ records: [{ topic, partition: 1, key: 'A', value, timestampMs: at, headers }] });
  };
  const halt = journal.append('market', '{"T":"s","S":"A"}', at);
  journal.append('market', '{"T":"x","S":"A"}', at);
  const fill = journal.append('order', '{"event":"fill"}', at);
  const half = journal.append('order', '{"event":"new"}', at);
  await put(defaultTopics.status, halt);
  await put(defaultTopics.tradeUpdates, fill);
  await put(defaultTopics.tradeUpdatesV2, fill);
  await put(defaultTopics.tradeUpdates, half);
  const { left } = openJournal(`${rig.home}/spool`, 'e2');
  const slots = new Slots(defaultTopics, 3);
  const found = await recover(log, slots, defaultTopics, left);
  await writer.close();
  await log.close();
  expect(found.lost.map(({ entry, missingIn }) => [entry.raw, missingIn])).toEqual([
    ['{"T":"x","S":"A"}', []],
    ['{"event":"new"}', [defaultTopics.tradeUpdatesV2]],
  ]);
  expect(found.lastSeq).toBe(41);
  expect(slots.of('status', 1).counts).toEqual(new Map([['statuses', 3]]));
  expect(slots.of('status', 1).markMs).toBe(7);
});

test('events that nobody heard, while ws was down or cut off, come from orders and activities, each once', async () => {
  rig = new Rig({
    data: [],
    startNs,
    symbols: ['SPY'],
    speed: 20,
    simulatorArgs: ['--synthetic', '7', '--symbols', 'SPY'],
    env: { TORGHUT_ACCOUNT_LABEL: 'PAPER-A' },
  });
  const of = rig;
  await of.startSimulator();
  of.startWs();
  const listening = (status: unknown) => (status as { orders_state?: string }).orders_state === 'ready';
  await of.until('listening', listening);
  of.run();
  await of.untilMarket(startNs + 40_000_000_000n);
  const request = (method: string, path: string, body?: Record<string, unknown>) =>
    fetch(`${of.url}${path}`, {
      method,
      headers: {
        'APCA-API-KEY-ID': 'SIM-TEST',
        'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET',
        'content-type': 'application/json',
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  const order = async (id: string, more: Record<string, string> = { type: 'market' }) => {
    const body = { symbol: 'SPY', qty: '1', side: 'buy', time_in_force: 'day', client_order_id: id, ...more };
    const answer = await request('POST', '/v2/orders', body);
    expect(answer.status).toBe(200);
    return ((await answer.json()) as { id: string }).id;
  };
  const fills = (id: string) => async () => {
    const answer = await request('GET', `/v2/orders:by_client_order_id?client_order_id=${id}`);
    return ((await answer.json()) as { status: string }).status === 'filled';
  };
  const untilTrue = async (holds: () => Promise<boolean>) => {
    const end = performance.now() + 30_000;
    while (!(await holds())) {
      if (performance.now() > end) throw new Error('not in 30 s');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await order('heard');
  await of.until('heard', ({ received }) => (received.trade_updates ?? 0) >= 2);
  // Down: a fill, and an order that is taken back.
  await of.kill('ws');
  await order('while-down');
  const resting = await order('taken-back', { type: 'limit', limit_price: '1' });
  expect((await request('DELETE', `/v2/orders/${resting}`)).status).toBe(204);
  await untilTrue(fills('while-down'));
  of.startWs();
  await of.until('listening again', listening);
  // Lost on an open stream: the provider forgets to send it, and ws is cut off later.
  await of.fault({ name: 'updates_drop', count: 2, event: 'fill' });
  await order('dropped');
  await untilTrue(fills('dropped'));
  const told = async () =>
    (await of.records('tradeUpdatesV2')).map(
      ({ value }) => JSON.parse(String(value)) as { source: string; payload: OrderEvent & { execution_id?: string } },
    );
  const names = async () => (await told()).map(({ payload }) => `${payload.order.client_order_id} ${payload.event}`);
  await untilTrue(async () => (await names()).includes('dropped fill'));
  const all = await names();
  for (const id of ['heard fill', 'while-down new', 'while-down fill', 'taken-back new', 'taken-back canceled']) {
    expect(all).toContain(id);
  }
  expect(new Set(all).size).toBe(all.length);
  const executions = (await told())
    .filter(({ payload }) => payload.event === 'fill')
    .map(({ payload }) => payload.execution_id);
  expect(new Set(executions).size).toBe(3);
  expect((await told()).filter(({ source }) => source === 'rest').length).toBeGreaterThanOrEqual(5);
});
