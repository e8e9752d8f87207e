/** A reviewer can stop a decision or make it smaller: by its type (test/risk/paths.test.ts) and whatever it answers (here). */
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyReview, approveUnchanged, type Review, type Reviewer } from '../../src/lib/review/reviewer.ts';
import { tradingCycle } from '../../src/lib/trading/cycle.ts';
import { decision } from '../risk/fixtures.ts';
import { FakeWorld, openMs } from '../trading/fakes.ts';

const signal = new AbortController().signal;

describe('a review', () => {
  it('approves unchanged when no reviewer is configured', async () => {
    const review = await approveUnchanged.review({ decision: decision(), nowMs: 0 }, signal);
    const before = decision();
    expect(applyReview(before, review)).toEqual({ ok: true, decision: before, reasons: [] });
  });

  it('never makes a decision larger, and changes nothing but its quantity, whatever it says', () => {
    const amount = fc.oneof(
      fc.double({ noDefaultInfinity: false }).map((value) => new Decimal(Number.isNaN(value) ? Number.NaN : value)),
      fc.integer({ min: -5, max: 400 }).map((value) => new Decimal(value)),
    );
    const word: fc.Arbitrary<Review> = fc.oneof(
      fc.constant<Review>({ verdict: 'approve' }),
      fc.array(fc.string()).map((reasons): Review => ({ verdict: 'veto', reasons })),
      fc
        .record({ quantity: amount, reasons: fc.array(fc.string()) })
        .map((shrink): Review => ({ verdict: 'shrink', ...shrink })),
    );
    fc.assert(
      fc.property(word, fc.integer({ min: 1, max: 300 }), fc.boolean(), (review, size, isFractional) => {
        const quantity = new Decimal(size).div(isFractional ? 7 : 1).toDecimalPlaces(4);
        const before = decision({ quantity });
        const result = applyReview(before, review);
        if (!result.ok) {
          expect(result.reasons).toContain('review_veto');
          return;
        }
        const { quantity: after, ...rest } = result.decision;
        const { quantity: _, ...restBefore } = before;
        expect(rest).toEqual(restBefore);
        expect(after.gt(0) && after.lte(quantity)).toBe(true);
        if (quantity.isInteger()) expect(after.isInteger()).toBe(true);
        if (review.verdict === 'approve') expect(after.eq(quantity)).toBe(true);
      }),
    );
  });

  it('that carries more than its word is taken by its word: what else is in it is not looked at', () => {
    const before = decision();
    const more = { verdict: 'approve' as const, decision: decision({ quantity: new Decimal(1_000), symbol: 'MU' }) };
    expect(applyReview(before, more)).toEqual({ ok: true, decision: before, reasons: [] });
  });

  it('that cannot be read as a quantity is a veto, and one that asks for more gets what was decided', () => {
    for (const quantity of [Number.NaN, 0, -1, 0.4]) {
      expect(applyReview(decision(), { verdict: 'shrink', quantity: new Decimal(quantity), reasons: [] }).ok).toBe(
        false,
      );
    }
    for (const quantity of [10, 11, Number.POSITIVE_INFINITY]) {
      const result = applyReview(decision(), { verdict: 'shrink', quantity: new Decimal(quantity), reasons: [] });
      expect(result).toMatchObject({ ok: true, reasons: ['review_not_smaller'] });
      expect(result.ok && result.decision.quantity.toFixed()).toBe('10');
    }
  });
});

describe('in the cycle', () => {
  /** Two signals of 8 shares; the reviewer's word is about IBM, and AIG it always makes smaller. */
  const through = async (review: Review | Error) => {
    const world = new FakeWorld();
    world.catalogText = '- {name: s, enabled: true, base_timeframe: 1Sec, params: {quantity: 8}}';
    world.signal('IBM', openMs - 2_000, 'buy');
    world.signal('AIG', openMs - 1_000, 'buy');
    const reviewer: Reviewer = {
      name: 'test',
      review: ({ decision: asked }) => {
        if (asked.symbol === 'AIG')
          return Promise.resolve({ verdict: 'shrink', quantity: new Decimal(2), reasons: [] });
        return review instanceof Error ? Promise.reject(review) : Promise.resolve(review);
      },
    };
    const cycle = tradingCycle({ ...world.ports(), reviewer });
    await cycle.recover();
    await cycle.run(signal);
    return {
      sent: world.submitted.map(({ terms }) => `${terms.quantity} ${terms.symbol}`),
      statuses: world.rows.decisions.map((row) => `${row.status} ${row.reasons.join()}`.trim()),
    };
  };

  it.each<[string, Review | Error, string[], string]>([
    ['approves', { verdict: 'approve' }, ['8 IBM', '2 AIG'], 'submitted'],
    ['makes smaller', { verdict: 'shrink', quantity: new Decimal(3), reasons: [] }, ['3 IBM', '2 AIG'], 'submitted'],
    ['wants more', { verdict: 'shrink', quantity: new Decimal(800), reasons: [] }, ['8 IBM', '2 AIG'], 'submitted'],
    ['vetoes', { verdict: 'veto', reasons: ['thin'] }, ['2 AIG'], 'rejected review_veto,thin'],
    ['fails', new RangeError('boom'), ['2 AIG'], 'rejected decision_handler_error_RangeError'],
  ])('a reviewer that %s decides about its decision alone', async (_what, review, sent, first) => {
    const result = await through(review);
    expect(result.sent).toEqual(sent);
    expect(result.statuses).toEqual([first, 'submitted']);
  });
});
