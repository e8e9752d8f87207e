/** runbooks/clickhouse-disk.md: its levels and classes are those of the code, its command lines are taken by the commands. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { adviceIds } from '../../src/lib/signals/disk/advice.ts';
import { levelExitCode } from '../../src/lib/signals/disk/level.ts';
import { planPurge, reclaimable } from '../../src/lib/signals/disk/plan.ts';
import { everything, oneNode } from '../signals/disk-facts.ts';

const page = readFileSync(join(import.meta.dirname, '../../runbooks/clickhouse-disk.md'), 'utf8');
const cells = (pattern: RegExp) => [...page.matchAll(pattern)].map(([, ...found]) => found);

describe('runbooks/clickhouse-disk.md', () => {
  test('has the levels of the code with their exit codes', () => {
    const found = cells(/^\| `([a-z]+)` \| (\d+) \|/gm).map(([level, exit]) => [level, Number(exit)]);
    expect(Object.fromEntries(found)).toEqual(levelExitCode);
  });

  test('has the classes of the code, and says rightly which of them --confirm runs', () => {
    const { steps } = planPurge(oneNode(), everything);
    const found = cells(/^\| `(\d)` \| [^|]+ \| ([^|]+) \|/gm);
    expect(found.map(([order]) => Number(order))).toEqual(
      reclaimable(oneNode(), everything).map(({ class: order }) => order),
    );
    const automatic = new Set(steps.filter(({ is_automatic }) => is_automatic).map(({ class: order }) => order));
    expect(found.filter(([, who]) => who?.includes('--confirm')).map(([order]) => Number(order))).toEqual([
      ...automatic,
    ]);
  });

  test('has the advice of the code', () => {
    expect(
      cells(/^\| `([a-z_]+)` \| [^|]+ \| [^|]+ \|$/gm)
        .map(([id]) => id as string)
        .sort(),
    ).toEqual([...adviceIds].sort());
  });

  test('its lines about the store are taken by the commands', async () => {
    const lines = cells(/^torghut clickhouse (\w+) ?(.*)$/gm);
    expect(lines.length).toBeGreaterThan(5);
    for (const [verb, rest] of lines) {
      const command = new Command('test').exitOverride().configureOutput({ writeErr: () => undefined });
      const module: { configure(command: Command): void } = await import(`../../src/commands/clickhouse-${verb}.ts`);
      module.configure(command);
      command.action(() => undefined);
      const words = [...(rest ?? '').matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
      await command.parseAsync(words, { from: 'user' });
    }
  });
});
