/**
 * The verdict over a run on a real broker: the multiset of trades and quotes in the topics (read committed) is the raw file, the
 * newest bar of each minute is the simulator's, and whatever was shed was told exactly.
 */
import { expect } from 'vitest';
import { difference, payloads, type RawMessage, type Rig } from './rig.ts';

export interface Expected {
  raw: RawMessage[];
  /** Events of a trade or quote that may be in the repair topic instead of the live one. */
  mayBeLate?: boolean;
  /** Compare the minute bars too (default). */
  hasBars?: boolean;
  /** Forwarders that share the topics, each with what it forwards; without it the one rig forwards all. */
  shards?: { of: Rig; raw: RawMessage[] }[];
}

/** Waits until every message is acknowledged and no gap is open, then compares the topics. */
export async function expectWhole(of: Rig, expected: Expected): Promise<void> {
  const { raw, mayBeLate = false, hasBars = true, shards = [{ of, raw }] } = expected;
  const ofType = (type: string) => raw.filter((message) => message.T === type);
  const [trades, quotes] = [ofType('t'), ofType('q')];
  const statuses = await Promise.all(
    shards.map((shard) => untilAcknowledged(shard).catch((error: unknown) => error as Error)),
  );
  const late = await of.records('repair');
  if (!mayBeLate) expect(late.length, of.stderr.ws.slice(-4_000)).toBe(0);
  for (const [channel, want] of [
    ['trades', trades],
    ['quotes', quotes],
  ] as const) {
    const got = payloads([...(await of.records(channel)), ...late], channel);
    expect(difference(got, want), `${channel}\n${of.stderr.ws.slice(-4_000)}`).toEqual({ extra: [], missing: [] });
  }
  for (const status of statuses) expect(status, of.stderr.ws.slice(-4_000)).not.toBeInstanceOf(Error);
  if (hasBars) await expectBars(of, raw);
}

function untilAcknowledged({ of, raw }: { of: Rig; raw: RawMessage[] }) {
  const countOf = (type: string) => raw.filter((message) => message.T === type).length;
  const [trades, quotes] = [countOf('t'), countOf('q')];
  return of.until(
    'everything acknowledged',
    ({ acknowledged, gaps, queued, spooled }) =>
      (acknowledged.trades ?? 0) >= trades &&
      (acknowledged.quotes ?? 0) >= quotes &&
      gaps.open === 0 &&
      queued === 0 &&
      spooled === 0,
    60_000,
  );
}

interface BarRecord extends RawMessage {
  revision: number;
}

/** The newest revision of each minute in the topic is what the simulator's history says of it. */
async function expectBars(of: Rig, raw: RawMessage[]): Promise<void> {
  const times = raw.map(({ t }) => t).sort();
  const symbols = [...new Set(raw.map(({ S }) => S))];
  const query = new URLSearchParams({
    symbols: symbols.join(','),
    timeframe: '1Min',
    start: times[0] as string,
    limit: '10000',
    feed: 'sip',
  });
  const headers = { 'APCA-API-KEY-ID': 'SIM-TEST', 'APCA-API-SECRET-KEY': 'SIM-TEST-SECRET' };
  const answer = await fetch(`${of.url}/v2/stocks/bars?${query}`, { headers });
  const { bars } = (await answer.json()) as { bars: Record<string, RawMessage[]> };
  const records = await of.records('bars');
  const newest = new Map<string, BarRecord>();
  for (const bar of [...payloads(records, 'bars'), ...payloads(records, 'updatedBars')] as BarRecord[]) {
    const key = `${bar.S} ${bar.t}`;
    const known = newest.get(key);
    expect(known?.revision, `${key} has one record of each revision`).not.toBe(bar.revision);
    if (known === undefined || bar.revision > known.revision) newest.set(key, bar);
  }
  for (const symbol of symbols) {
    for (const want of bars[symbol] ?? []) {
      const got = newest.get(`${symbol} ${want.t}`);
      // The last minutes may still be on their way.
      if (got === undefined && want.t >= (times.at(-1) as string).slice(0, 16)) continue;
      const { T: _T, S: _S, revision: _revision, ...content } = (got ?? {}) as BarRecord;
      expect(content, `${symbol} ${want.t}`).toEqual(want);
    }
  }
}

/** Value of a counter with its labels in the text of /metrics; 0 when absent. */
export function counter(text: string, name: string, labels: Record<string, string> = {}): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (!Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`))) continue;
    sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}
