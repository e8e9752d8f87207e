/** Flat bars, late events, corrections and cancels, sessions: what is revised, when, and what is given out as late. */
import { describe, expect, it } from 'vitest';
import type { BarOutput, MarketEvent, SignalOutput, TaOutput } from '../../src/lib/ta/index.ts';
import { settingsOf, TaEngine } from '../../src/lib/ta/index.ts';
import { instant, minuteBar, OPEN, quote, runAll, trade } from './fixtures.ts';

const bars = (outputs: readonly TaOutput[]) => outputs.filter((o): o is BarOutput => o.kind === 'bar');
const signals = (outputs: readonly TaOutput[]) => outputs.filter((o): o is SignalOutput => o.kind === 'signal');
const brief = (outputs: readonly TaOutput[]) =>
  outputs.map((o) => (o.kind === 'late' ? o.reason : `${o.kind} ${o.end - OPEN} r${o.revision}`));

/** What each event gives out at once. */
function stepwise(events: readonly (MarketEvent | { until: number })[]): string[][] {
  const engine = new TaEngine(settingsOf('default'));
  return events.map((event) => {
    const outputs: TaOutput[] = [];
    const emit = (output: TaOutput) => void outputs.push(output);
    if ('until' in event) engine.observe(instant(event.until).sec, instant(event.until).nano, emit);
    else engine.process(event, emit);
    return brief(outputs);
  });
}

const cancel = (seconds: number, id: number): MarketEvent => ({
  kind: 'cancel', symbol: 'MU', ...instant(seconds), exchange: 'Q', id, seq: 1_000_000,
}); // biome-ignore format: one record
const correct = (seconds: number, id: number, price: number, conditions = [' ']): MarketEvent => ({
  kind: 'correction', symbol: 'MU', ...instant(seconds), exchange: 'Q', id, newId: id + 500_000,
  price, size: 100, conditions, tape: 'A', seq: 1_000_000,
}); // biome-ignore format: one record

describe('flat bars', () => {
  const unpriced = { conditions: ['W'], tape: 'C' };

  it('makes a flat bar at the last price with its volume; it advances no indicator and emits no signal', () => {
    const base = [trade(0.5, 10), trade(2.5, 11), trade(3.5, 12)];
    const { outputs } = runAll([...base, trade(1.5, 99, 40, unpriced)].sort((a, b) => a.sec - b.sec));
    expect(bars(outputs)[1]).toMatchObject({
      open: 10,
      high: 10,
      low: 10,
      close: 10,
      volume: 40,
      vwap: 99,
      count: 1,
      unpriced: 1,
      isFlat: true,
    });
    expect(signals(outputs).map((s) => s.end - OPEN)).toEqual([1, 3, 4]);
    expect(signals(outputs)).toEqual(signals(runAll(base).outputs));
  });

  it('makes no bar without a last price of the session, and counts the trades', () => {
    const { outputs, engine } = runAll([trade(0.5, 10, 1, unpriced), trade(0.6, 10, 1, unpriced), trade(1.5, 11)]);
    expect(brief(outputs)).toEqual(['bar 2 r0', 'signal 2 r0']);
    expect(engine.counters.tradesWithoutPrice).toBe(2);
    // The price of yesterday is not one of today.
    const nextDay = [trade(0.5, 10), trade(86_400.5, 10, 1, unpriced)];
    expect(bars(runAll(nextDay, settingsOf('default'), 90_000).outputs)).toHaveLength(1);
  });

  it('has no vwap without volume', () => {
    const { outputs } = runAll([trade(0.5, 10), trade(1.5, 10, 700, { conditions: ['Q'] })]);
    expect(bars(outputs)[1]).toMatchObject({ volume: 0, vwap: null, count: 1, isFlat: true });
  });
});

describe('finality and lateness', () => {
  it('gives a bar out when the watermark passes its end, and a late trade revises it at the next market second', () => {
    expect(
      stepwise([
        trade(0.2, 10), { until: 1.5 }, { until: 1.6 }, trade(0.3, 11), { until: 2.4 }, { until: 2.51 },
      ]),
    ).toEqual([[], [], ['bar 1 r0', 'signal 1 r0'], [], [], ['bar 1 r1', 'signal 1 r1']]);
  }); // biome-ignore format: one story

  it('revises every later signal whose bytes change, and no bar that did not change', () => {
    const { outputs } = runAll([
      trade(0.5, 10), trade(1.5, 11), trade(2.5, 12), trade(4, 12), trade(0.6, 10.2), { ...trade(6, 12) },
    ]); // biome-ignore format: one story
    const late = outputs.filter((o) => o.kind !== 'late' && o.revision > 0);
    expect(brief(late)).toEqual(['bar 1 r1', 'signal 1 r1', 'signal 2 r1', 'signal 3 r1']);
    // The same current rows as in order.
    const last = signals(outputs).findLast((s) => s.end === OPEN + 3);
    const straight = runAll([trade(0.5, 10), trade(0.6, 10.2), trade(1.5, 11), trade(2.5, 12), trade(4, 12)]);
    expect(last?.values).toEqual(signals(straight.outputs).find((s) => s.end === OPEN + 3)?.values);
  });

  it('fills a second that had no bar', () => {
    const { outputs } = runAll([trade(0.5, 10), trade(2.5, 12), trade(5, 12), trade(1.5, 11), trade(7, 12)]);
    expect(brief(outputs)).toEqual([
      'bar 1 r0', 'signal 1 r0', 'bar 3 r0', 'signal 3 r0',
      'bar 2 r0', 'signal 2 r0', 'signal 3 r1', 'bar 6 r0', 'signal 6 r0', 'bar 8 r0', 'signal 8 r0',
    ]);
  }); // biome-ignore format: one story

  it('takes what is up to 15 s late and gives out what is later', () => {
    const at = (newest: number) => brief(runAll([trade(0.5, 10), trade(newest, 10), trade(0.7, 11)]).outputs);
    expect(at(16.49)).toContain('bar 1 r1');
    expect(at(16.49)).not.toContain('late_trade');
    expect(at(16.6)).toContain('late_trade');
    expect(at(16.6)).not.toContain('bar 1 r1');
  });

  it('lets a late quote revise the signals that it was valid for', () => {
    const { outputs } = runAll([trade(0.5, 10), trade(1.5, 10), trade(3, 10), quote(0.9, 9.9, 10.1), trade(5, 10)]);
    const first = signals(outputs).filter((s) => s.end <= OPEN + 2);
    expect(first.map((s) => [s.end - OPEN, s.revision, s.quote?.bidPrice ?? null])).toEqual([
      [1, 0, null], [2, 0, null], [1, 1, 9.9], [2, 1, 9.9],
    ]);
    expect(bars(outputs).every((bar) => bar.revision === 0)).toBe(true);
  }); // biome-ignore format: one story
});

describe('corrections and cancels', () => {
  it('replaces and removes the trade by exchange and id', () => {
    const base = [trade(0.5, 10, 100, { id: 1 }), trade(0.6, 12, 100, { id: 2 }), trade(0.7, 11, 100, { id: 3 })];
    const first = (events: MarketEvent[]) => bars(runAll(events).outputs).at(0);
    expect(first([...base, cancel(0.8, 2)])).toMatchObject({ high: 11, count: 2, volume: 200, revision: 0 });
    expect(first([...base, correct(0.8, 3, 13)])).toMatchObject({ high: 13, close: 13, count: 3 });
    expect(first([...base, correct(0.8, 3, 13, ['W'])])).toMatchObject({ high: 12, close: 12, unpriced: 1 });
    expect(first([...base, { ...cancel(0.8, 2), exchange: 'N' } as MarketEvent])).toMatchObject({ high: 12, count: 3 });
    // A corrected trade is cancelled by its new id; the amendment may come first.
    expect(first([...base, correct(0.8, 3, 13), cancel(0.9, 500_003)])).toMatchObject({ close: 12, count: 2 });
    expect(first([cancel(0.9, 500_003), correct(0.8, 3, 13), ...base])).toMatchObject({ close: 12, count: 2 });
  });

  it('revises a final bar; a window left without any price stays as a flat row and its signal is withdrawn', () => {
    const { outputs } = runAll([
      trade(0.5, 10, 100, { id: 1 }), trade(1.5, 12, 100, { id: 2 }), trade(2.5, 11, 100, { id: 3 }),
      cancel(4, 2), trade(8, 11, 100, { id: 4 }),
    ]); // biome-ignore format: one story
    const second = outputs.filter((o) => o.kind !== 'late' && o.end === OPEN + 2);
    expect(brief(second)).toEqual(['bar 2 r0', 'signal 2 r0', 'bar 2 r1', 'signal 2 r1']);
    expect(second[2]).toMatchObject({ open: 10, close: 10, volume: 0, count: 0, isFlat: true });
    expect(second[3]).toMatchObject({ quality: 'withdrawn', values: { ema12: null, bars: 0 } });
    expect(brief(outputs)).toContain('signal 3 r1');
  });

  it('gives out an amendment that never finds its trade', () => {
    expect(brief(runAll([trade(0.5, 10, 1, { id: 1 }), cancel(1, 77), trade(20, 10)]).outputs)).toContain(
      'unmatched_amendment',
    );
    const outputs = brief(runAll([trade(30, 10), cancel(1, 77)]).outputs);
    expect(outputs).toContain('late_amendment');
  });
});

describe('sessions and minutes', () => {
  it('restarts the session VWAP at 04:00 and at the regular open, and never reads across', () => {
    const preMarket = -5.5 * 3_600;
    const { outputs } = runAll(
      [trade(preMarket - 0.5, 50), trade(preMarket + 0.5, 10), trade(-1.5, 20), trade(0.5, 40), trade(7 * 3_600, 80)],
      settingsOf('default'), 30_000,
    ); // biome-ignore format: one story
    expect(signals(outputs).map((s) => s.values.vwapSession)).toEqual([50, 10, 15, 40, 60]);
  });

  it('waits with a 1-minute signal for its bar and for the watermark, and stamps it with the end of the minute', () => {
    const early = stepwise([trade(58, 10), minuteBar(0, 10), { until: 60.4 }, { until: 60.6 }]);
    expect(early).toEqual([[], [], ['bar 59 r0', 'signal 59 r0'], ['signal 60 r0']]);
    const late = stepwise([trade(58, 10), { until: 63 }, minuteBar(0, 10)]);
    expect(late.at(-1)).toEqual(['signal 60 r0']);
  });

  it('lets an updated bar revise its minute and what follows, whatever comes first', () => {
    const update = minuteBar(0, 12, { isUpdate: true, seq: 1 });
    const events = [minuteBar(0, 10, { seq: 5 }), trade(62, 10), minuteBar(1, 11), trade(122, 10), update, trade(130, 10)];
    const { outputs } = runAll(events);
    const minutes = signals(outputs).filter((s) => s.windowSeconds === 60);
    expect(minutes.map((s) => [s.end - OPEN, s.revision, s.values.vwapW5m])).toEqual([
      [60, 0, 10], [120, 0, 10.5], [60, 1, 12], [120, 1, 11.5],
    ]);
    const first = runAll([update, minuteBar(0, 10, { seq: 5 }), trade(62, 10)]);
    expect(signals(first.outputs).find((s) => s.windowSeconds === 60)?.values.vwapW5m).toBe(12);
  }); // biome-ignore format: one story

  it('gives out a bar whose minute can no longer change', () => {
    const many = Array.from({ length: 30 }, (_, i) => [minuteBar(i, 10), trade(i * 60 + 62, 10)]).flat();
    expect(
      brief(runAll([...many, minuteBar(2, 11, { isUpdate: true })], settingsOf('default'), 3_000).outputs),
    ).toContain('late_bar');
  });
});
