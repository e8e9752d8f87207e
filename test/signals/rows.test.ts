import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { kindOfStoreError } from '../../src/lib/signals/errors.ts';
import { readRecordForm } from '../../src/lib/signals/record-form.ts';
import { rowOfRecord, timeText } from '../../src/lib/signals/rows.ts';
import { microbars, signals } from '../../src/lib/signals/tables.ts';
import { orderedPieces } from '../../src/lib/signals/writer.ts';
import { bar, logRecord, signal } from './records.ts';

const second = 1381239001; // 2013-10-08T13:30:01Z
const rowText = (head: string) => JSON.parse(`${head},"stored_at":"x"}`) as Record<string, unknown>;

describe('a record of the ta topics', () => {
  test('becomes a row with exactly the columns of its table', () => {
    const barRow = rowText(rowOfRecord(logRecord(bar('MU', second), 1, 7n), 'bar').head);
    expect(Object.keys(barRow).sort()).toEqual(microbars.columns.map(({ name }) => name).sort());
    const signalRow = rowText(rowOfRecord(logRecord(signal('MU', second), 1, 8n), 'signal').head);
    expect(Object.keys(signalRow).sort()).toEqual(signals.columns.map(({ name }) => name).sort());
    expect(barRow).toMatchObject({
      symbol: 'MU',
      window_size: 'PT1S',
      event_ts: '2013-10-08 13:30:01.000',
      window_start: '2013-10-08 13:30:00.000',
      ingest_ts: '2013-10-08 13:30:01.123',
      seq: second,
      src_partition: 1,
      src_offset: '7',
      vwap: 100.096,
      unpriced_count: 0,
    });
    expect(signalRow).toMatchObject({ boll_mid: null, imbalance_bid_sz: 2.5, n_bars: 19, is_warm: 0 });
  });

  test('without a price yet keeps nulls, never zeros', () => {
    const none = { open: Number.NaN, high: Number.NaN, low: Number.NaN, close: Number.NaN, vwap: null };
    expect(rowText(rowOfRecord(logRecord(bar('MU', second, none), 0, 0n), 'bar').head)).toMatchObject({
      o: null,
      c: null,
    });
  });

  test.each([
    ['no JSON', '{"symbol":'],
    ['no price where one belongs', recordWith({ o: '100' })],
    ['no time', recordWith({ event_ts: 'yesterday' })],
    ['no run', recordWith({ run_id: undefined })],
    ['another window', recordWith({ window_size: 'PT5M' })],
  ])('with %s is an error that names its place', (_name, text) => {
    const record = { ...logRecord(bar('MU', second), 2, 99n), value: Buffer.from(text) };
    expect(() => rowOfRecord(record, 'bar')).toThrow(
      expect.objectContaining({ code: 'ta_record_invalid', what: expect.stringContaining('partition 2 offset 99') }),
    );
  });

  const value = fc.oneof(
    fc.constantFrom(0, -0, 1e-7, 1e21, 1e300, -12.5, Number.NaN, Number.MAX_VALUE, Number.MIN_VALUE),
    fc.double(),
    fc.double({ min: -1e6, max: 1e6 }),
    fc.nat().map((cents) => cents / 100),
  );
  const name = fc.oneof(
    fc.constantFrom('MU', 'BRK.B', 'A"B', 'Ä', 'a\\b', 'true'),
    fc.string({ minLength: 1, maxLength: 4 }),
  );
  const drawn = fc.record({
    name,
    end: fc.integer({ min: 1, max: 4_000_000_000 }),
    numbers: fc.array(value, { minLength: 6, maxLength: 6 }),
    count: fc.nat(),
    isSet: fc.boolean(),
    kind: fc.constantFrom<'bar' | 'signal'>('bar', 'signal'),
    run: name,
  });

  test('in the form that ta writes is read without JSON, to the same row as through JSON', () => {
    fc.assert(
      fc.property(drawn, ({ name, end, numbers, count, isSet, kind, run }) => {
        const [n0, n1, n2, n3, n4, n5] = numbers as [number, number, number, number, number, number];
        const finite = Number.isFinite(n4) ? n4 : 0;
        const output =
          kind === 'bar'
            ? bar(name, end, { open: n0, high: n1, low: n2, close: n3, volume: finite, vwap: n5, count, isFlat: isSet })
            : signal(name, end, {
                windowSeconds: isSet ? 60 : 1,
                isWarm: isSet,
                revision: count,
                values: { ...signal(name, end).values, macd: n0, rsi14: n1, bollMid: n2, bars: count },
                quote: isSet ? null : { spread: n3, bidPrice: n4, askPrice: n5, bidSize: n0, askSize: n1 },
              });
        const record = logRecord(output, 1, 7n, run);
        const text = record.value?.toString() ?? '';
        // The same members in another order: read as JSON.
        const members = Object.entries(JSON.parse(text) as Record<string, unknown>).reverse();
        const other = { ...record, value: Buffer.from(JSON.stringify(Object.fromEntries(members))) };
        const [ours, theirs] = [rowOfRecord(record, kind), rowOfRecord(other, kind)];
        expect({ ...ours, head: rowText(ours.head) }).toEqual({ ...theirs, head: rowText(theirs.head) });
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 20_000 : 1_000 },
    );
  });

  test('of ta has that form, so that the sink need not parse it', () => {
    for (const output of [
      bar('MU', second),
      bar('BRK.B', second, { open: Number.NaN, close: 1e-7 }),
      signal('MU', second),
    ])
      expect(readRecordForm(logRecord(output, 0, 0n).value?.toString() ?? '', output.kind)).toBeDefined();
  });

  test('any millisecond keeps its text', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_000_000_000_000 }), (ms) => {
        expect(Date.parse(`${timeText(ms).replace(' ', 'T')}Z`)).toBe(ms);
      }),
    );
  });
});

function recordWith(changes: Record<string, unknown>): string {
  const value = JSON.parse(logRecord(bar('MU', second), 0, 0n).value?.toString() ?? '') as Record<string, unknown>;
  return JSON.stringify({ ...value, ...changes });
}

describe('pieces of a batch for the signal log', () => {
  const rows = fc.array(fc.record({ partition: fc.integer({ min: 0, max: 2 }), day: fc.integer({ min: 0, max: 2 }) }), {
    maxLength: 40,
  });

  test('are each of one day, lose nothing, and keep the offsets of every partition ascending', () => {
    fc.assert(
      fc.property(rows, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), (shape, order) => {
        const made = shape.map(({ partition, day }, i) => ({
          kind: 'signal' as const,
          partition,
          offset: BigInt(i),
          runId: 'r',
          eventMs: day * 86_400_000,
          head: '',
        }));
        const shuffled = made
          .map((row) => ({ row, at: order.next().value as number }))
          .sort((a, b) => a.at - b.at)
          .map(({ row }) => row);
        const pieces = orderedPieces(shuffled);
        for (const piece of pieces) expect(new Set(piece.map((row) => row.eventMs)).size).toBe(1);
        const flat = pieces.flat();
        expect(flat.length).toBe(made.length);
        for (const partition of [0, 1, 2]) {
          const offsets = flat.filter((row) => row.partition === partition).map((row) => Number(row.offset));
          expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
        }
      }),
    );
  });
});

describe('an error of the store', () => {
  test.each([
    [{ code: 'ECONNREFUSED' }, 'retry'],
    [{ code: '202' }, 'retry'],
    [{ code: '241' }, 'retry'],
    [{ code: '252' }, 'retry'],
    [{ code: '999' }, 'retry'],
    [{ code: '242' }, 'retry'],
    [new Error('socket hang up'), 'retry'],
    [{ code: '243' }, 'halt'],
    [{ code: '75' }, 'halt'],
    [new Error('write failed: No space left on device'), 'halt'],
    [{ code: '60' }, 'fatal'],
    [{ code: '81' }, 'fatal'],
    [{ code: '516' }, 'fatal'],
    [{ code: '53' }, 'fatal'],
  ] as const)('%o means %s', (error, kind) => {
    expect(kindOfStoreError(error)).toBe(kind);
  });
});
