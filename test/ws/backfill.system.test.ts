/**
 * `ws backfill` and `ws gaps` on a stretch that ws never saw: the plan, the refusal while ws writes, the multiset in the repair
 * topic against the provider's own REST, and nothing twice.
 */
import { afterEach, expect, test } from 'vitest';
import { type Finished, torghut } from '../support/torghut.ts';
import { difference, payloads, type RawMessage, Rig } from './rig.ts';

const second = 1_000_000_000n;
const startNs = BigInt(Date.parse('2026-03-10T13:30:00Z')) * 1_000_000n;
const at = (seconds: number) => new Date(Number(startNs / 1_000_000n) + seconds * 1_000).toISOString();

let rig: Rig;
afterEach(() => rig.close());

/** Everything the provider has of a stretch, asked without our client. */
async function history(channel: 'trades' | 'quotes', from: string, to: string): Promise<RawMessage[]> {
  const found: RawMessage[] = [];
  let token: string | null = null;
  do {
    const query = new URLSearchParams({ symbols: 'NVDA,AMD', start: from, end: to, limit: '10000', feed: 'sip' });
    if (token !== null) query.set('page_token', token);
    const headers = { 'APCA-API-KEY-ID': 'SIM-READ', 'APCA-API-SECRET-KEY': 'SIM-READ' };
    const answer = await fetch(`${rig.url}/v2/stocks/${channel}?${query}`, { headers });
    const page = (await answer.json()) as Record<string, Record<string, RawMessage[]>> & {
      next_page_token: string | null;
    };
    for (const [symbol, items] of Object.entries(page[channel] ?? {})) {
      for (const item of items)
        if (item.t < to) found.push({ ...item, T: channel === 'trades' ? 't' : 'q', S: symbol });
    }
    token = page.next_page_token;
  } while (token !== null);
  return found;
}

test('fills exactly what is missing, once', async () => {
  rig = new Rig({
    data: [], startNs, symbols: ['NVDA', 'AMD'], speed: 30,
    simulatorArgs: ['--synthetic', '7', '--symbols', 'NVDA,AMD'],
    env: { INGEST_START_TS: '' },
  }); // biome-ignore format: one list
  await rig.startSimulator();
  rig.run();
  // A minute that nobody forwards.
  // Its bar comes after a minute, the corrected one at 90 s.
  await rig.untilMarket(startNs + 100n * second);
  rig.startWs();
  await rig.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
  // How late the process was ready depends on the machine: what it forwards itself begins here.
  const liveFrom = Number((rig.clock.nowNs() - startNs) / second) + 2;
  await rig.untilMarket(startNs + BigInt(liveFrom + 100) * second);
  rig.clock.setSpeed(0);
  const args = [
    'ws',
    'backfill',
    '--home',
    rig.home,
    '--symbols',
    'NVDA,AMD',
    '--from',
    at(0),
    '--to',
    at(60),
    '-o',
    'json',
  ];
  const rowsOf = ({ stdout, stderr }: Finished) => {
    expect(stdout, stderr).not.toBe('');
    return JSON.parse(stdout) as {
      missing: number;
      written: number;
      rows: { known: number; missing: number; present: number }[];
    };
  };

  const planned = rowsOf(await torghut([...args, '--dry-run']));
  expect(planned.written).toBe(0);
  expect(planned.rows.every(({ known, missing, present }) => known === missing && present === 0)).toBe(true);
  const trades = await history('trades', at(0), at(60));
  const quotes = await history('quotes', at(0), at(60));
  expect(trades.length).toBeGreaterThan(10);
  expect(planned.missing).toBeGreaterThanOrEqual(trades.length + quotes.length);

  const unasked = await torghut(args);
  expect([unasked.code, unasked.stderr]).toEqual([4, expect.stringContaining('confirmation_needed')]);
  const held = await torghut([...args, '--yes']);
  expect([held.code, held.stderr]).toEqual([4, expect.stringContaining('ws_holds_log')]);
  await rig.kill('ws', 'SIGTERM');

  // An interrupted run leaves a part: here, only the trades.
  const part = rowsOf(await torghut([...args, '--channels', 'trades', '--yes']));
  expect(part.written).toBe(trades.length);
  const rest = await torghut([...args, '--yes']);
  expect(rest.stderr).toContain('live bars do not change');
  expect(rowsOf(rest).written).toBe(planned.missing - trades.length);
  const repaired = await rig.records('repair');
  expect(difference(payloads(repaired, 'trades'), trades)).toEqual({ extra: [], missing: [] });
  expect(difference(payloads(repaired, 'quotes'), quotes)).toEqual({ extra: [], missing: [] });
  expect(rowsOf(await torghut([...args, '--yes']))).toMatchObject({ missing: 0, written: 0 });

  // What ws forwarded itself is all there.
  const live = [
    'ws',
    'backfill',
    '--home',
    rig.home,
    '--symbols',
    'NVDA,AMD',
    '--from',
    at(liveFrom),
    '--to',
    at(liveFrom + 80),
  ];
  expect(rowsOf(await torghut([...live, '--dry-run', '-o', 'json']))).toMatchObject({ missing: 0 });

  const gaps = await torghut(['ws', 'gaps', '--home', rig.home, '--symbol', 'nvda', '-o', 'json']);
  const recorded = JSON.parse(gaps.stdout) as { channel: string; state: string; count: number; symbol: string }[];
  const filled = recorded.filter(({ state }) => state === 'backfilled');
  expect(filled.map(({ channel }) => channel).sort()).toEqual(expect.arrayContaining(['quotes', 'trades']));
  expect(filled.find(({ channel }) => channel === 'trades')?.count).toBe(trades.filter(({ S }) => S === 'NVDA').length);
  expect((await torghut(['ws', 'gaps', '--home', rig.home, '--open'])).code).toBe(0);

  const wrong = await torghut(['ws', 'backfill', '--home', rig.home, '--from', at(60), '--to', at(0)]);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('backfill_range')]);
}, 180_000);
