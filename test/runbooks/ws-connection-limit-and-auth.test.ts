/** runbooks/ws-connection-limit-and-auth.md: its cases, exit codes and steps are those of the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { caseIds, cases } from '../../src/daemons/ws/diagnosis/cases.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'runbooks/ws-connection-limit-and-auth.md'), 'utf8');
const decide = readFileSync(join(root, 'src/daemons/ws/diagnosis/decide.ts'), 'utf8');
const rows = [...page.matchAll(/^\| `([A-Z])` \| ([^|]+) \| ([^|]+) \|$/gm)].map(([, id, title, codes]) => ({
  id: id as string,
  title: (title as string).trim(),
  codes: (codes as string).split(',').map(Number),
}));

describe('runbooks/ws-connection-limit-and-auth.md', () => {
  test('has the cases of the code with their names', () => {
    expect(rows.map(({ id, title }) => [id, title])).toEqual(caseIds.map((id) => [id, cases[id].title]));
  });

  test('has the exit codes that the decision gives', () => {
    expect(rows.map(({ id, codes }) => [id, codes])).toEqual(caseIds.map((id) => [id, cases[id].exitCodes]));
  });

  test('has every step that leaves evidence', () => {
    const steps = [...page.matchAll(/^\| (\d) \|/gm)].map(([, step]) => Number(step));
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const noted = new Set([...decide.matchAll(/note\(\s*(\d),/g)].map(([, step]) => Number(step)));
    expect([...noted].sort()).toEqual(steps);
  });
});
