/** runbooks/clickhouse-replica-and-keeper.md: its diagnoses, checks, limits and refusals are those of the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { diagnoses, lagLimits } from '../../src/lib/signals/replicas/diagnose.ts';
import { replicaCheckIds } from '../../src/lib/signals/replicas/report.ts';

const page = readFileSync(join(import.meta.dirname, '../../runbooks/clickhouse-replica-and-keeper.md'), 'utf8');
const section = (heading: string) => page.split(`## ${heading}\n`)[1]?.split(/\n##/)[0] ?? '';
const names = (heading: string) => [...section(heading).matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, name]) => name);

describe('runbooks/clickhouse-replica-and-keeper.md', () => {
  test('has the diagnoses and the checks of the code', () => {
    expect(names('Diagnoses')).toEqual([...diagnoses]);
    expect(names('Checks')).toEqual([...replicaCheckIds]);
  });

  test('has the limits of the code', () => {
    const { delaySeconds, pageSeconds, queue, inserts } = lagLimits;
    expect(section('Diagnoses')).toContain(
      `over ${delaySeconds} s behind (${pageSeconds} s: page), over ${queue} entries or ${inserts} inserts waiting`,
    );
  });

  test('names the refusals of the code', () => {
    const source = readFileSync(join(import.meta.dirname, '../../src/lib/signals/replicas/restore.ts'), 'utf8');
    const codes = [...source.matchAll(/code: '(\w+)'/g)].map(([, code]) => code as string);
    expect(codes.length).toBeGreaterThan(2);
    for (const code of codes) expect(section('Restore')).toContain(`\`${code}\``);
  });
});
