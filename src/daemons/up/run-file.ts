/**
 * run.json: what a home belongs to. A home holds one run; the same arguments resume it, others are refused (exit 4).
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { refusedError } from '../../lib/service/errors.ts';
import { homePaths } from '../../lib/service/home.ts';

/** Version of the home's layout; a newer one is refused. */
export const homeVersion = 1;

export const restartSchema = z.object({
  process: z.string(),
  /** killed: by a signal; dependency: ended by itself because something it needs is gone; resumed: `up` itself came back. */
  cause: z.enum(['killed', 'dependency', 'resumed', 'error']),
  at_market: z.string(),
  /** Process id of the one that ended. */
  pid: z.number().int().optional(),
  detail: z.string().optional(),
});
export type Restart = z.infer<typeof restartSchema>;

const runSchema = z.object({
  version: z.number().int(),
  run_id: z.string(),
  /** Hash of everything that defines the run: source content or seed, from, to, symbols, broker. */
  arguments_hash: z.string(),
  arguments: z.record(z.string(), z.unknown()),
  restarts: z.array(restartSchema),
  /** Did the last sitting end by itself (Ctrl-C, end)? False while one runs, so a killed one is seen. */
  stopped_cleanly: z.boolean().default(true),
  /** Machine seconds of earlier sittings of a resumed run. */
  wall_seconds: z.number(),
  /** The summary, once the run has ended. */
  finished: z.record(z.string(), z.unknown()).nullable(),
});
export type RunFile = z.infer<typeof runSchema>;

/** A short stable name of the arguments, for folders and run ids. */
export function hashArguments(values: Record<string, unknown>): string {
  return createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 16);
}

/** Reads a home's run.json; undefined when there is none. @throws `home_newer`, `home_damaged` (exit 4) */
export function readRunFile(home: string): RunFile | undefined {
  let text: string;
  try {
    text = readFileSync(homePaths.run(home), 'utf8');
  } catch {
    return undefined;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const version = z.object({ version: z.number() }).safeParse(value);
  if (version.success && version.data.version > homeVersion) {
    throw refusedError({
      code: 'home_newer',
      what: `the home ${home} was made by a newer torghut`,
      why: `its layout is version ${version.data.version}, this program knows ${homeVersion}`,
      next: 'update torghut, or name another folder with --home',
    });
  }
  const parsed = runSchema.safeParse(value);
  if (!parsed.success) {
    throw refusedError({
      code: 'home_damaged',
      what: `cannot read ${homePaths.run(home)}`,
      why: 'it is no run file of torghut',
      next: 'name another folder with --home, or begin anew with --fresh',
    });
  }
  return parsed.data;
}

/** Writes run.json atomically. */
export function writeRunFile(home: string, run: RunFile): void {
  const path = homePaths.run(home);
  writeFileSync(`${path}.new`, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** What a home may hold; --fresh removes only these. */
const ours = new Set([
  'run.json',
  'run.json.new',
  'clock',
  'clock.new',
  'log',
  'clickhouse',
  'postgres',
  'simulator',
  'spool',
  'state',
  'services',
  'logs',
  'journal',
]);

/**
 * Opens the home for a run with these arguments: creates it, resumes it, or refuses.
 * @throws `home_of_another_run`, `home_not_empty` (exit 4)
 */
export function openRun(
  home: string,
  values: Record<string, unknown>,
  isFresh: boolean,
): { run: RunFile; isNew: boolean } {
  const hash = hashArguments(values);
  if (isFresh) removeHome(home);
  const old = readRunFile(home);
  if (old && old.arguments_hash !== hash) {
    throw refusedError({
      code: 'home_of_another_run',
      what: `the home ${home} belongs to another run`,
      why: `it was made with ${JSON.stringify(old.arguments)}`,
      next: 'repeat those arguments to resume it, leave --home out, or begin anew with --fresh',
    });
  }
  if (old) return { run: old, isNew: false };
  if (existsSync(home)) {
    const foreign = readdirSync(home).find((name) => !ours.has(name));
    if (foreign !== undefined) {
      throw refusedError({
        code: 'home_not_empty',
        what: `the folder ${home} is not empty and is no home of torghut`,
        why: `it holds ${foreign}`,
        next: 'name an empty or new folder with --home',
      });
    }
  }
  for (const path of [homePaths.logs(home), homePaths.services(home)]) mkdirSync(path, { recursive: true });
  const run: RunFile = {
    version: homeVersion,
    run_id: `up-${hash}`,
    arguments_hash: hash,
    arguments: values,
    restarts: [],
    stopped_cleanly: true,
    wall_seconds: 0,
    finished: null,
  };
  writeRunFile(home, run);
  return { run, isNew: true };
}

function removeHome(home: string): void {
  if (!existsSync(home)) return;
  const names = readdirSync(home);
  const foreign = names.find((name) => !ours.has(name));
  if (foreign !== undefined) {
    throw refusedError({
      code: 'home_not_empty',
      what: `--fresh does not empty ${home}`,
      why: `it holds ${foreign}, which is not torghut's`,
      next: 'move that away, or name another folder with --home',
    });
  }
  for (const name of names) rmSync(join(home, name), { recursive: true, force: true });
}
