/** Ctrl-C: data move soon after the start, one signal ends everything within 5 s, nothing is left, and the run can be resumed. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { freshHome, startTorghut } from '../support/torghut.ts';

function processesOf(home: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .flatMap((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        const state = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]?.[0];
        return line.includes(home) && state !== 'Z' ? [line] : [];
      } catch {
        return [];
      }
    });
}

test('the synthetic market moves within 90 s; Ctrl-C leaves nothing running within 5 s; the same arguments resume', async () => {
  const home = join(freshHome(), 'run');
  const args = ['up', '--synthetic', '7', '--speed', '30', '--home', home];
  for (const sitting of [1, 2]) {
    const started = Date.now();
    const up = startTorghut(args);
    while (!/trades [1-9]/.test(up.stderr())) {
      expect(up.child.exitCode, up.stderr()).toBeNull();
      expect(Date.now() - started).toBeLessThan(90_000);
      await delay(100);
    }
    expect(processesOf(home).length).toBeGreaterThanOrEqual(7);
    const stopped = Date.now();
    up.child.kill('SIGINT');
    const finished = await up.done;
    expect(finished.code).toBe(130);
    expect(Date.now() - stopped).toBeLessThan(5_000);
    expect(processesOf(home)).toEqual([]);
    if (sitting === 1) continue;
    const run = JSON.parse(readFileSync(join(home, 'run.json'), 'utf8')) as { restarts: { cause: string }[] };
    // A stop is no fault: only what died counts, and nothing died.
    expect(run.restarts).toEqual([]);
  }
}, 240_000);
