import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OrderState } from '../../src/lib/ledger/contract.ts';
import {
  advanceOrder,
  isFinalState,
  isWorking,
  type OrderProgress,
  type ProgressReport,
  stateOfStatus,
} from '../../src/lib/orders/state.ts';

const statuses = [
  'pending_new', 'accepted', 'accepted_for_bidding', 'pending_review', 'new', 'held', 'stopped', 'suspended', 'calculated',
  'partially_filled', 'pending_cancel', 'pending_replace', 'filled', 'canceled', 'expired', 'rejected', 'replaced',
  'done_for_day', 'something_new',
]; // biome-ignore format: one list

const report = fc.record(
  {
    status: fc.constantFrom(...statuses),
    filledQty: fc.integer({ min: 0, max: 10 }).map((n) => new Decimal(n)),
    updatedAtMs: fc.integer({ min: 0, max: 6 }),
  },
  { requiredKeys: ['status', 'filledQty'] },
);

const start: OrderProgress = { state: 'open', brokerStatus: 'new', brokerFilledQty: new Decimal(0) };

function apply(progress: OrderProgress, next: ProgressReport): OrderProgress {
  const step = advanceOrder(progress, next);
  return step.verdict === 'applied' || step.verdict === 'contradiction' ? step.next : progress;
}

describe('the order state machine', () => {
  it('maps every documented status, and an unknown word to unknown', () => {
    expect(statuses.map(stateOfStatus)).toEqual([
      ...Array.from({ length: 9 }, () => 'open'),
      'partial', 'pending_change', 'pending_change', 'filled', 'canceled', 'expired', 'rejected', 'replaced', 'done_for_day',
      'unknown',
    ]); // biome-ignore format: one list
  });

  it('never leaves a final state, never shrinks the filled quantity, whatever comes in whatever order', () => {
    fc.assert(
      fc.property(fc.array(report, { maxLength: 30 }), (reports) => {
        let progress = start;
        for (const next of reports) {
          const after = apply(progress, next);
          expect(after.brokerFilledQty.gte(progress.brokerFilledQty)).toBe(true);
          if (isFinalState(progress.state)) expect(after.state).toBe(progress.state);
          expect(after.brokerFilledQty.gte(next.filledQty) || advanceOrder(progress, next).verdict === 'stale').toBe(
            true,
          );
          progress = after;
        }
      }),
    );
  });

  it('says the same twice: a report applied once changes nothing the second time', () => {
    fc.assert(
      fc.property(fc.array(report, { maxLength: 10 }), report, (reports, next) => {
        const progress = apply(reports.reduce(apply, start), next);
        const again = apply(progress, next);
        expect({ ...again, brokerFilledQty: again.brokerFilledQty.toFixed() }).toEqual({
          ...progress,
          brokerFilledQty: progress.brokerFilledQty.toFixed(),
        });
      }),
    );
  });

  it('ends in the final state and with the largest quantity in whatever order one order life arrives', () => {
    const life: ProgressReport[] = [
      { status: 'new', filledQty: new Decimal(0), updatedAtMs: 1 },
      { status: 'partially_filled', filledQty: new Decimal(3), updatedAtMs: 2 },
      { status: 'partially_filled', filledQty: new Decimal(7), updatedAtMs: 3 },
      { status: 'pending_cancel', filledQty: new Decimal(7), updatedAtMs: 4 },
      { status: 'canceled', filledQty: new Decimal(7), updatedAtMs: 5 },
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray([...life, ...life], { minLength: 10 }), (shuffled) => {
        const end = shuffled.reduce(apply, start);
        expect(end.state).toBe('canceled');
        expect(end.brokerFilledQty.toNumber()).toBe(7);
      }),
    );
  });

  it('reports a newer word that would go back as a contradiction', () => {
    const filled: OrderProgress = {
      state: 'filled',
      brokerStatus: 'filled',
      brokerFilledQty: new Decimal(5),
      brokerUpdatedAtMs: 10,
    };
    expect(advanceOrder(filled, { status: 'new', filledQty: new Decimal(0), updatedAtMs: 11 }).verdict).toBe(
      'contradiction',
    );
    expect(advanceOrder(filled, { status: 'canceled', filledQty: new Decimal(5), updatedAtMs: 11 }).verdict).toBe(
      'contradiction',
    );
    expect(advanceOrder(filled, { status: 'new', filledQty: new Decimal(0), updatedAtMs: 9 }).verdict).toBe('stale');
    const partial: OrderProgress = {
      state: 'partial',
      brokerStatus: 'partially_filled',
      brokerFilledQty: new Decimal(5),
      brokerUpdatedAtMs: 10,
    };
    expect(
      advanceOrder(partial, { status: 'partially_filled', filledQty: new Decimal(2), updatedAtMs: 11 }).verdict,
    ).toBe('contradiction');
    expect(
      advanceOrder(partial, { status: 'partially_filled', filledQty: new Decimal(2), updatedAtMs: 10 }).verdict,
    ).toBe('stale');
  });

  it('keeps the fills of a cancelled order and counts a fill that crossed the cancel', () => {
    const canceled: OrderProgress = {
      state: 'canceled',
      brokerStatus: 'canceled',
      brokerFilledQty: new Decimal(3),
      brokerUpdatedAtMs: 10,
    };
    const step = advanceOrder(canceled, { status: 'partially_filled', filledQty: new Decimal(5), updatedAtMs: 9 });
    expect(step.verdict).toBe('applied');
    expect(step.verdict === 'applied' && [step.next.state, step.next.brokerFilledQty.toNumber()]).toEqual([
      'canceled',
      5,
    ]);
  });

  it('a day order that is done for the day works no more, a gtc order does', () => {
    expect(isWorking('done_for_day', 'day')).toBe(false);
    expect(isWorking('done_for_day', 'gtc')).toBe(true);
    const states: OrderState[] = ['filled', 'canceled', 'expired', 'rejected', 'replaced'];
    expect(states.some((state) => isWorking(state, 'gtc'))).toBe(false);
  });
});
