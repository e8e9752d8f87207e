import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { envelopeSchema } from '../../src/lib/market/envelope.ts';
import { createEnvelopeWriter, withMembers } from '../../src/lib/market/envelope-text.ts';
import { readEventTime } from '../../src/lib/market/event-time.ts';
import {
  CountedSet,
  orderEventIdentity,
  quoteIdentity,
  RecentSet,
  tradeIdentity,
} from '../../src/lib/market/identity.ts';
import { formatTimestampNs, parseTimestampNs } from '../../src/lib/market/time.ts';
import type { Clock } from '../../src/lib/service/clock.ts';

const clockAt = (ms: number): Clock => ({
  kind: 'virtual',
  nowNs: () => BigInt(ms) * 1_000_000n,
  nowMs: () => ms,
  sleepUntil: async () => undefined,
});
const nowMs = Date.parse('2026-03-10T14:31:02.418Z');

describe('event time', () => {
  test('agrees with the exact parser on every time, whatever its digits', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }), (ns) => {
        const text = formatTimestampNs(ns);
        expect(readEventTime(text)).toMatchObject({ ms: Number(ns / 1_000_000n), text });
      }),
    );
  });

  test.each([
    '2013-10-08T13:30:00.Z',
    '2013-10-08T13:30:60Z',
    '2013-02-30T13:30:00Z',
    '2013-10-08T13:30:00.1x3Z',
    '',
    '1381239000',
    '2013-10-08T13:30:0 Z',
    '1969-12-31T23:59:59Z',
  ])('refuses %j', (text) => expect(readEventTime(text)).toBeUndefined());

  test('reads offsets and turns them to UTC; knows the session', () => {
    expect(readEventTime('2013-10-08T09:30:00.5-04:00')).toEqual({
      ms: Date.parse('2013-10-08T13:30:00.5Z'), session: 'regular', text: '2013-10-08T13:30:00.5Z',
    }); // biome-ignore format: one list
    expect(readEventTime('2013-10-08T13:29:59.999999999Z')?.session).toBe('pre');
  });
});

describe('identity', () => {
  const trade = { symbol: 'A', exchange: 'V', tape: 'C', id: '7', time: '2030-01-01T00:00:00Z' };
  test('a trade id alone is not enough', () => {
    const others = [{ symbol: 'B' }, { exchange: 'Q' }, { tape: 'A' }, { id: '8' }, { time: '2030-01-02T00:00:00Z' }];
    const all = new Set([trade, ...others.map((change) => ({ ...trade, ...change }))].map(tradeIdentity));
    expect(all.size).toBe(6);
  });

  test('a quote is the same whatever the order of its keys and the form of its numbers', () => {
    const a = JSON.parse('{"S":"A","t":"x","bx":"Q","bp":49,"bs":1,"ax":"P","ap":49.10,"as":2,"c":["R"],"z":"A"}');
    const b = JSON.parse('{"z":"A","as":2.0,"ap":49.1,"ax":"P","bs":1,"bp":49.0,"bx":"Q","c":["R"],"t":"x","S":"A"}');
    expect(quoteIdentity(a)).toBe(quoteIdentity(b));
    expect(quoteIdentity({ ...a, bs: 3 })).not.toBe(quoteIdentity(a));
  });

  test('an order event is told by its event id, else its execution, else order, event and time', () => {
    const data = { event: 'fill', event_id: 'E', execution_id: 'X', timestamp: 't', order: { id: 'O' } };
    expect(orderEventIdentity('acc', data)).toBe('acc|event|E');
    expect(orderEventIdentity('acc', { ...data, event_id: undefined })).toBe('acc|execution|X|fill');
    expect(orderEventIdentity('acc', { event: 'new', timestamp: 't', order: { id: 'O' } })).toBe('acc|order|O|new|t');
  });

  test('the recent set remembers at least its capacity and at most twice of it', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 })), fc.integer({ min: 1, max: 10 }), (keys, capacity) => {
        const set = new RecentSet(capacity);
        const order: string[] = [];
        for (const key of keys.map(String)) {
          expect(set.has(key)).toBe(!set.add(key));
          if (!order.includes(key)) order.push(key);
          expect(set.size).toBeLessThanOrEqual(2 * capacity);
        }
        const fresh = new Set<string>();
        for (const key of keys.map(String).reverse()) if (fresh.size < capacity) fresh.add(key);
        if (new Set(keys).size === keys.length) for (const key of fresh) expect(set.has(key)).toBe(true);
      }),
    );
  });

  test('while it holds, nothing is forgotten', () => {
    const set = new RecentSet(2);
    set.hold = true;
    for (let i = 0; i < 50; i++) set.add(String(i));
    expect(set.has('0')).toBe(true);
  });

  test('the multiset gives back exactly what was put in', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c')), fc.array(fc.constantFrom('a', 'b', 'c')), (put, taken) => {
        const set = new CountedSet();
        for (const key of put) set.add(key);
        const left = [...put];
        for (const key of taken) {
          const at = left.indexOf(key);
          expect(set.take(key)).toBe(at >= 0);
          if (at >= 0) left.splice(at, 1);
        }
        expect(set.size).toBe(left.length);
      }),
    );
  });
});

describe('envelope', () => {
  const writer = createEnvelopeWriter({ feed: 'iex', clock: clockAt(nowMs), lastSeq: 0 });
  test('has every field of the contract, the payload as the provider wrote it', () => {
    const payload = '{"T":"t","S":"NVDA","i":81734,"p":171.360,"t":"2026-03-10T14:31:02.391204117Z"}';
    const text = writer.market({
      channel: 'trades', symbol: 'NVDA', eventTs: '2026-03-10T14:31:02.391204117Z', session: 'regular', payload,
      source: 'ws', isFinal: true,
    }); // biome-ignore format: one list
    expect(text).toContain(`"payload":${payload},`);
    expect(JSON.parse(text)).toEqual({
      ingest_ts: '2026-03-10T14:31:02.418Z', event_ts: '2026-03-10T14:31:02.391204117Z', feed: 'iex', channel: 'trades',
      symbol: 'NVDA', seq: Math.floor(nowMs / 1_000) * 1_000_000 + 1, payload: JSON.parse(payload), account_label: null,
      is_final: true, source: 'ws', window: null, version: 2, provider: 'alpaca', market_session: 'regular',
      delay_class: 'real_time_exchange_only', producer_epoch: nowMs,
    }); // biome-ignore format: one list
    expect(envelopeSchema.safeParse(JSON.parse(text)).success).toBe(true);
  });

  test('seq goes on above the last durable one, also when the clock stands before it', () => {
    const last = Math.floor(nowMs / 1_000) * 1_000_000 + 3_000_000;
    const next = createEnvelopeWriter({ feed: 'iex', clock: clockAt(nowMs), lastSeq: last });
    expect(next.nextSeq()).toBe(last + 1);
    expect(next.nextSeq()).toBe(last + 2);
  });

  test('members are added to objects, empty ones too', () => {
    expect(withMembers('{"a":{"b":1}}', '"c":2')).toBe('{"a":{"b":1},"c":2}');
    expect(withMembers('{ }', '"c":2')).toBe('{ "c":2}');
    expect(parseTimestampNs('2026-03-10T14:31:02.418Z')).toBe(BigInt(nowMs) * 1_000_000n);
  });
});
