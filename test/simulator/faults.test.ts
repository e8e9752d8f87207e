import { describe, expect, it } from 'vitest';
import { createFaultRegistry } from '../../src/simulator/faults.ts';
import { createKeyCheck } from '../../src/simulator/keys.ts';
import { seededRandom } from '../../src/simulator/random.ts';

function registry(seed = 1) {
  const faults = createFaultRegistry(seed);
  faults.declare('silent', 'no data');
  faults.declare('slow', 'late data');
  return faults;
}

describe('faults', () => {
  it('nothing strikes until it is posted; a count is used up strike by strike', () => {
    const faults = registry();
    expect(faults.take('silent')).toBeUndefined();
    faults.add({ name: 'silent', count: 2 });
    expect([1, 2, 3].map(() => faults.take('silent') !== undefined)).toEqual([true, true, false]);
    expect(faults.list()).toMatchObject([{ name: 'silent', left: 0, hits: 2 }]);
    faults.add({ name: 'slow' });
    for (let i = 0; i < 50; i++) expect(faults.take('slow')).toBeDefined();
    expect(faults.remove('slow')).toBe(1);
    expect(faults.take('slow')).toBeUndefined();
    expect(faults.remove()).toBe(1);
  });

  it('a probability strikes that often, and the same seed strikes at the same questions', () => {
    const strikes = (seed: number) => {
      const faults = registry(seed);
      faults.add({ name: 'silent', probability: 0.25 });
      return Array.from({ length: 4_000 }, () => faults.take('silent') !== undefined);
    };
    expect(strikes(5)).toEqual(strikes(5));
    expect(strikes(5)).not.toEqual(strikes(6));
    const share = strikes(5).filter(Boolean).length / 4_000;
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.3);
  });

  it('a fault that names a path leaves other paths alone, and hands its parameters over', () => {
    const faults = registry();
    faults.add({ name: 'slow', path: '/v2/sip', delay_ms: 70, count: 1 });
    expect(faults.take('slow', { path: '/v2/iex' })).toBeUndefined();
    const hit = faults.take('slow', { path: '/v2/sip' });
    expect([hit?.number('delay_ms', 1), hit?.number('other', 9), hit?.text('path', '')]).toEqual([70, 9, '/v2/sip']);
  });

  it('an unknown name is refused with the nearest one, wrong numbers with what is wrong', () => {
    const faults = registry();
    expect(() => faults.add({ name: 'silnt' })).toThrow(
      expect.objectContaining({ code: 'fault_unknown', next: 'did you mean silent?' }),
    );
    for (const bad of [undefined, {}, { name: 'silent', count: 0 }, { name: 'silent', probability: 2 }]) {
      expect(() => faults.add(bad)).toThrow(expect.objectContaining({ code: 'fault_invalid' }));
    }
  });
});

describe('keys', () => {
  it('any pair that is not empty, or exactly the configured one', () => {
    const any = createKeyCheck();
    expect([any.accepts('a', 'b'), any.accepts('', 'b'), any.accepts('a', undefined)]).toEqual([true, false, false]);
    const only = createKeyCheck({ keyId: 'SIM1', secret: 's' });
    expect([only.accepts('SIM1', 's'), only.accepts('SIM1', 't'), only.accepts('SIM2', 's')]).toEqual([
      true,
      false,
      false,
    ]);
    const request = (headers: Record<string, string>) => ({ headers }) as Parameters<typeof only.acceptsRequest>[0];
    expect(only.acceptsRequest(request({ 'apca-api-key-id': 'SIM1', 'apca-api-secret-key': 's' }))).toBe(true);
    expect(only.acceptsRequest(request({ authorization: `Basic ${Buffer.from('SIM1:s').toString('base64')}` }))).toBe(
      true,
    );
    expect(only.acceptsRequest(request({}))).toBe(false);
  });
});

describe('seeded random numbers', () => {
  it('are the same for a seed and a stream, spread evenly, and independent between streams', () => {
    const draw = (seed: number, stream: string) => {
      const random = seededRandom(seed, stream);
      return Array.from({ length: 10_000 }, () => random.next());
    };
    expect(draw(7, 'a')).toEqual(draw(7, 'a'));
    const [a, b] = [draw(7, 'a'), draw(7, 'b')];
    const mean = (list: number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
    expect(Math.abs(mean(a) - 0.5)).toBeLessThan(0.02);
    const together = mean(a.map((value, i) => (value - 0.5) * ((b[i] as number) - 0.5)));
    expect(Math.abs(together)).toBeLessThan(0.005);
    // The first draw is part of the promise: a changed algorithm would change every synthetic market.
    expect(seededRandom(7, 'IBM').integer(0, 1_000_000)).toMatchInlineSnapshot(`944281`);
    const dice = seededRandom(1);
    expect(new Set(Array.from({ length: 300 }, () => dice.integer(1, 6)))).toEqual(new Set([1, 2, 3, 4, 5, 6]));
  });
});
