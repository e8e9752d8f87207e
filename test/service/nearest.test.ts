import { expect, test } from 'vitest';
import { nearestName } from '../../src/lib/service/nearest.ts';

test('a swapped or missing letter still finds the name, something else finds nothing', () => {
  expect(nearestName('simualtor', ['simulator', 'up'])).toBe('simulator');
  expect(nearestName('statu', ['status', 'topics'])).toBe('status');
  expect(nearestName('zzzzzz', ['status', 'topics'])).toBeUndefined();
});
