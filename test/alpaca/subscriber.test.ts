/** Subscriptions of one connection: changes, what is not granted, and the plan's limit. No socket; a server of a few lines. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Subscriber } from '../../src/lib/alpaca/subscriber.ts';
import { countPairs } from '../../src/lib/alpaca/subscription.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Grants `limit` symbols over trades and quotes; beyond that it refuses the whole message, as the provider does with 405. */
function connect(options: { symbols: string[]; limit?: number; never?: string[]; batchSize?: number }) {
  const held = { trades: new Set<string>(), quotes: new Set<string>() };
  const sent: Record<string, unknown>[] = [];
  const settled: number[] = [];
  let most = 0;
  const subscriber = new Subscriber({
    channels: ['trades', 'quotes'],
    symbols: options.symbols,
    batchSize: options.batchSize ?? 100,
    send: (message) => {
      sent.push(message);
      const next = { trades: new Set(held.trades), quotes: new Set(held.quotes) };
      for (const channel of ['trades', 'quotes'] as const) {
        for (const symbol of (message[channel] as string[] | undefined) ?? []) {
          if (message.action === 'unsubscribe') next[channel].delete(symbol);
          else if (!options.never?.includes(symbol)) next[channel].add(symbol);
        }
      }
      const isOver = next.trades.size + next.quotes.size > (options.limit ?? 1_000);
      queueMicrotask(() => {
        if (isOver) subscriber.refused();
        else subscriber.acknowledged(JSON.stringify({ trades: [...held.trades], quotes: [...held.quotes] }));
      });
      if (isOver) return;
      Object.assign(held, next);
      most = Math.max(most, held.trades.size + held.quotes.size);
    },
    onSettled: (missing) => void settled.push(countPairs(missing)),
  });
  subscriber.begin();
  return { subscriber, held, sent, settled, most: () => most };
}

const soon = () => vi.advanceTimersByTimeAsync(0);

describe('a change of symbols', () => {
  test('unsubscribes first, so that a full plan is never passed on the way', async () => {
    const { subscriber, sent, settled, held } = connect({ symbols: ['A', 'B'], limit: 4 });
    await soon();
    subscriber.change(['B', 'C'], true);
    await soon();
    expect(sent.slice(1)).toEqual([
      { action: 'unsubscribe', trades: ['A'], quotes: ['A'] },
      { action: 'subscribe', trades: ['C'], quotes: ['C'] },
    ]);
    expect([...held.trades]).toEqual(['B', 'C']);
    expect(settled).toEqual([0, 0]);
  });

  test('before the connection is authenticated it sends nothing and counts from the start', async () => {
    const { subscriber, sent } = connect({ symbols: ['A'] });
    const count = sent.length;
    subscriber.change(['B'], false);
    expect(sent).toHaveLength(count);
    subscriber.begin();
    expect(sent.at(-1)).toEqual({ action: 'subscribe', trades: ['B'], quotes: ['B'] });
  });

  test('what was refused for the limit is asked for again once there is room', async () => {
    const { subscriber, held, settled } = connect({ symbols: ['A', 'B', 'C'], limit: 4, batchSize: 1 });
    await soon();
    expect(settled).toEqual([2]);
    subscriber.change(['A', 'C'], true);
    await soon();
    expect([...held.trades].sort()).toEqual(['A', 'C']);
    expect(settled.at(-1)).toBe(0);
  });

  test('any sequence of changes ends with exactly the symbols wanted', async () => {
    const list = fc.uniqueArray(fc.constantFrom('A', 'B', 'C', 'D', 'E'), { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(list, fc.array(fc.tuple(list, fc.boolean()), { maxLength: 8 }), async (first, changes) => {
        const { subscriber, held, settled } = connect({ symbols: first, batchSize: 2 });
        let last = first;
        for (const [next, waits] of changes) {
          if (waits) await soon();
          subscriber.change(next, true);
          last = next;
        }
        await soon();
        expect([...held.trades].sort()).toEqual([...last].sort());
        expect([...held.quotes].sort()).toEqual([...last].sort());
        expect(settled.at(-1)).toBe(0);
      }),
    );
  });
});

describe('what is not granted', () => {
  test('is asked for three times, 1, 5 and 30 s apart, then the session goes on without it', async () => {
    const { sent, settled } = connect({ symbols: ['A', 'B'], never: ['B'] });
    const at: number[] = [];
    for (let s = 0; s < 60; s++) {
      const before = sent.length;
      await vi.advanceTimersByTimeAsync(1_000);
      if (sent.length > before) at.push(s + 1);
    }
    expect(at).toEqual([1, 6, 36]);
    expect(sent.slice(1)).toEqual(Array(3).fill({ action: 'subscribe', trades: ['B'], quotes: ['B'] }));
    expect(settled).toEqual([2]);
  });

  test('after 405 nothing is asked for again, and what was granted stays', async () => {
    const { sent, settled, held } = connect({ symbols: ['A', 'B', 'C'], limit: 4, batchSize: 1 });
    await vi.advanceTimersByTimeAsync(120_000);
    expect(sent).toHaveLength(3);
    expect([...held.trades]).toEqual(['A', 'B']);
    expect(settled).toEqual([2]);
  });
});
