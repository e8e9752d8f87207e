import { describe, expect, test } from 'vitest';
import { Lanes, laneLimits } from '../../src/embedded/clickhouse/lanes.ts';

describe('lanes of the engine', () => {
  test('a full read lane keeps reads waiting and nothing else, and starts them in order', async () => {
    const lanes = new Lanes({ read: 1, insert: 1, change: 1, control: 1 });
    const order: string[] = [];
    let finish: () => void = () => undefined;
    const first = lanes.run('read', undefined, () => new Promise<void>((resolve) => (finish = resolve)));
    const waiting = ['b', 'c'].map((name) => lanes.run('read', undefined, async () => void order.push(name)));
    await lanes.run('insert', undefined, async () => void order.push('insert'));
    expect(lanes.counts().read).toEqual({ running: 1, waiting: 2 });
    finish();
    await Promise.all([first, ...waiting]);
    expect(order).toEqual(['insert', 'b', 'c']);
    expect(lanes.counts().read).toEqual({ running: 0, waiting: 0 });
  });

  test('who goes away while waiting never starts, and a failure frees its place', async () => {
    const lanes = new Lanes({ read: 1, insert: 1, change: 1, control: 1 });
    const gone = new AbortController();
    let finish: () => void = () => undefined;
    const first = lanes.run('read', undefined, () => new Promise<void>((resolve) => (finish = resolve)));
    const second = lanes.run('read', gone.signal, async () => expect.unreachable());
    gone.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
    finish();
    await first;
    await expect(lanes.run('read', undefined, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await lanes.run('read', undefined, async () => 'runs')).toBe('runs');
  });

  test('every pool size leaves room for each kind and two threads besides', () => {
    for (let threads = 5; threads <= 128; threads++) {
      const { read, insert, change } = laneLimits(threads);
      expect(Math.min(read, insert, change)).toBeGreaterThan(0);
      expect(read + insert + change).toBeLessThanOrEqual(threads - 2);
    }
    expect(laneLimits(4)).toMatchObject({ read: 1, insert: 1, change: 1 });
  });
});
