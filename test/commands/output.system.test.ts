import { expect, test } from 'vitest';
import { freshHome, torghut } from '../support/torghut.ts';

test('--json means -o json, and an explicit -o wins', async () => {
  const env = { TORGHUT_HOME: freshHome() };
  expect((await torghut(['log', 'groups', '--json'], env)).stdout).toBe('[]\n');
  expect((await torghut(['log', 'groups', '-o', 'json'], env)).stdout).toBe('[]\n');
  expect((await torghut(['log', 'groups', '--json', '-o', 'table'], env)).stdout).toBe('(no rows)\n');
});
