/**
 * Which runs this machine knows and whether they have finished: the run files of the homes under TORGHUT_HOME. The purge drops
 * the database of a simulation or replay only when its run is finished here, or nobody has written to it for a day.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { torghutHome } from '../../lib/service/home.ts';
import { readRunFile } from '../up/run-file.ts';

/** By run id: has it finished? A home that cannot be read vouches for nothing. */
export function knownRuns(home: string, env: NodeJS.ProcessEnv = process.env): Map<string, boolean> {
  const runs = join(torghutHome(env), 'runs');
  let homes: string[] = [home];
  try {
    homes = [...homes, ...readdirSync(runs).map((name) => join(runs, name))];
  } catch {
    // No runs yet.
  }
  const known = new Map<string, boolean>();
  for (const each of new Set(homes)) {
    try {
      const run = readRunFile(each);
      // Two homes of one run: one that goes on holds it.
      if (run) known.set(run.run_id, run.finished !== null && known.get(run.run_id) !== false);
    } catch {
      // A damaged or newer home.
    }
  }
  return known;
}
