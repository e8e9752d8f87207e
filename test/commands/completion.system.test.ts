import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { torghut } from '../support/torghut.ts';

/** What the script of the shell is told to offer after the words. */
async function offers(...words: string[]): Promise<string[]> {
  const { code, stdout } = await torghut(['complete', '--', ...words]);
  expect(code).toBe(0);
  // The last line is the directive of the protocol.
  return stdout
    .trim()
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split('\t')[0] as string);
}

test('nouns, verbs and options of the tree as it is', async () => {
  expect(await offers('click')).toEqual(['clickhouse']);
  expect(await offers('clickhouse', '')).toEqual(expect.arrayContaining(['disk', 'coverage', 'query']));
  expect(await offers('log', 'groups', '--js')).toEqual(['--json']);
  expect(await offers('embed')).toEqual([]);
});

test('each shell has its script; another is refused with the choices', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout } = await torghut(['completion', shell]);
    expect(code).toBe(0);
    expect(stdout).toContain('torghut complete');
    if (shell === 'bash') execFileSync('bash', ['-n'], { input: stdout });
  }
  const other = await torghut(['completion', 'tcsh']);
  expect(other.code).toBe(2);
  expect(other.stderr).toContain('bash, zsh, fish');
});
