import { Decimal } from 'decimal.js';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/lib/service/clock.ts';
import { sessionGate, stateByBroker, stateByCalendar } from '../../src/lib/trading/session.ts';
import { dailyLossReason, dayStartMs } from '../../src/lib/trading/stops.ts';

const at = (text: string) => Date.parse(text);
const hour = 3_600_000;

describe('session gate', () => {
  it.each([
    ['2013-10-08T13:29:59Z', 'closed', 'a second before the opening'],
    ['2013-10-08T13:30:00Z', 'open', 'at the opening'],
    ['2013-10-08T19:59:59Z', 'open', 'a second before the close'],
    ['2013-10-08T20:00:00Z', 'closed', 'at the close'],
    ['2013-11-04T13:45:00Z', 'closed', 'the Monday after daylight saving ended, when New York opens at 14:30 UTC'],
    ['2013-11-04T14:30:00Z', 'open', 'the same Monday at 14:30 UTC'],
    ['2013-11-29T17:59:00Z', 'open', 'a half day before 13:00'],
    ['2013-11-29T18:00:00Z', 'closed', 'a half day at 13:00'],
    ['2013-11-28T16:00:00Z', 'closed', 'Thanksgiving'],
    ['2013-10-12T15:00:00Z', 'closed', 'a Saturday'],
    ['2040-10-09T15:00:00Z', 'unknown', 'a year that the calendar does not know'],
  ])('by the shipped calendar %s is %s: %s', (time, expected) => {
    expect(stateByCalendar(at(time))).toBe(expected);
  });

  it('goes by the bells of the last reading between two readings of the broker', () => {
    const now = at('2013-10-08T19:59:50Z');
    const open = { isOpen: true, nextOpenMs: now + 20 * hour, nextCloseMs: now + 10_000 };
    expect(stateByBroker(open, now)).toBe('open');
    expect(stateByBroker(open, now + 10_000)).toBe('closed');
    const closed = { isOpen: false, nextOpenMs: now + 5_000, nextCloseMs: now + 7 * hour };
    expect(stateByBroker(closed, now)).toBe('closed');
    expect(stateByBroker(closed, now + 5_000)).toBe('open');
  });

  it('asks the broker once a market minute, believes it over the calendar, and has the calendar without it', async () => {
    let nowMs = at('2013-10-08T15:00:00Z');
    let asked = 0;
    let isDown = false;
    const clock: Clock = {
      kind: 'virtual',
      nowMs: () => nowMs,
      nowNs: () => BigInt(nowMs) * 1_000_000n,
      sleepUntil: () => Promise.resolve(),
    };
    const gate = sessionGate(clock, {
      session: () => {
        asked += 1;
        if (isDown) return Promise.reject(new Error('down'));
        return Promise.resolve({ isOpen: false, nextOpenMs: nowMs + 20 * hour, nextCloseMs: nowMs + 26 * hour });
      },
      days: () => Promise.reject(new Error('no calendar')),
    });
    expect(await gate.state()).toEqual({ state: 'closed', source: 'broker' });
    nowMs += 59_000;
    await gate.state();
    expect(asked).toBe(1);
    nowMs += 1_000;
    isDown = true;
    expect(await gate.state()).toEqual({ state: 'open', source: 'calendar', closeMs: at('2013-10-08T20:00:00Z') });
  });

  it("goes by the broker's calendar when its clock is away: a closure that the shipped one does not know", async () => {
    let nowMs = at('2013-10-08T15:00:00Z');
    let isDown = false;
    const clock: Clock = {
      kind: 'virtual',
      nowMs: () => nowMs,
      nowNs: () => BigInt(nowMs) * 1_000_000n,
      sleepUntil: () => Promise.resolve(),
    };
    const day = (date: string, close = '20:00') => ({
      date,
      openMs: at(`${date}T13:30:00Z`),
      closeMs: at(`${date}T${close}:00Z`),
    });
    const gate = sessionGate(clock, {
      session: () =>
        isDown
          ? Promise.reject(new Error('down'))
          : Promise.resolve({ isOpen: true, nextOpenMs: nowMs + 20 * hour, nextCloseMs: nowMs + hour }),
      // The 9th is no trading day here, the 10th ends at 17:00 UTC.
      days: () => Promise.resolve([day('2013-10-08'), day('2013-10-10', '17:00'), day('2013-10-11')]),
    });
    expect((await gate.state()).source).toBe('broker');
    isDown = true;
    nowMs = at('2013-10-09T15:00:00Z');
    expect(await gate.state()).toEqual({ state: 'closed', source: 'broker_calendar' });
    nowMs = at('2013-10-10T16:59:00Z');
    const closeMs = at('2013-10-10T17:00:00Z');
    expect(await gate.state()).toEqual({ state: 'open', source: 'broker_calendar', closeMs });
    nowMs = closeMs;
    expect((await gate.state()).state).toBe('closed');
    // Beyond what the broker told the shipped calendar goes on.
    nowMs = at('2013-10-14T15:00:00Z');
    expect(await gate.state()).toMatchObject({ state: 'open', source: 'calendar' });
  });
});

describe('daily loss stop', () => {
  const pct = new Decimal('0.01');
  it('triggers exactly at the limit', () => {
    expect(dailyLossReason(new Decimal(100_000), new Decimal('99000.01'), pct)).toBeUndefined();
    expect(dailyLossReason(new Decimal(100_000), new Decimal(99_000), pct)).toBe('daily_loss_stop:0.0100');
    expect(dailyLossReason(new Decimal(100_000), new Decimal(120_000), pct)).toBeUndefined();
  });

  it('counts a session from its opening bell, and a day without one from New York midnight', () => {
    expect(new Date(dayStartMs(at('2013-10-08T03:59:59Z'))).toISOString()).toBe('2013-10-07T13:30:00.000Z');
    expect(new Date(dayStartMs(at('2013-10-08T04:00:00Z'))).toISOString()).toBe('2013-10-08T04:00:00.000Z');
    expect(new Date(dayStartMs(at('2013-11-03T20:00:00Z'))).toISOString()).toBe('2013-11-03T04:00:00.000Z');
    expect(new Date(dayStartMs(at('2013-11-04T14:29:59Z'))).toISOString()).toBe('2013-11-04T05:00:00.000Z');
    expect(new Date(dayStartMs(at('2013-11-04T20:00:00Z'))).toISOString()).toBe('2013-11-04T14:30:00.000Z');
  });
});
