/**
 * The full check of a data file before anything of it is served: every line parsed, first and last time, symbols, counts.
 * Guarantees: a broken or truncated file is refused before the market begins; an unchanged file is checked once
 * (size, times and inode say so), because a simulator that was killed has to be back at market now quickly.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { usageError } from '../../lib/service/errors.ts';
import { checkLine, kindLetters } from '../market/message-line.ts';
import { inputError, readLines } from './ndjson-file.ts';

const inspectionSchema = z.object({
  path: z.string(),
  /** Size, change time and inode of the file that was checked. */
  stamp: z.string(),
  lines: z.number(),
  /** Messages per `T`. */
  counts: z.record(z.string(), z.number()),
  symbols: z.array(z.string()),
  /** Least and greatest event time, nanoseconds; null for a file without messages. */
  first_ns: z.string().nullable(),
  last_ns: z.string().nullable(),
  /** Event time of the first trade or quote. */
  first_tick_ns: z.string().nullable(),
  /** SHA-256 of the uncompressed lines. */
  sha256: z.string(),
});

export type FileInspection = z.infer<typeof inspectionSchema>;

const cacheSchema = z.object({ version: z.literal(1), files: z.array(inspectionSchema) });

function readCache(path: string | undefined): FileInspection[] {
  if (path === undefined) return [];
  try {
    const parsed = cacheSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
    return parsed.success ? parsed.data.files : [];
  } catch {
    return [];
  }
}

/** The files behind the --data arguments: a folder stands for its .ndjson and .ndjson.gz files by name. */
export function expandPaths(given: readonly string[]): string[] {
  const files: string[] = [];
  for (const path of given.map((item) => resolve(item))) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat) throw inputError(path, undefined, 'there is no such file or folder');
    if (!stat.isDirectory()) {
      files.push(path);
      continue;
    }
    const inside = readdirSync(path)
      .filter((name) => /\.ndjson(\.gz)?$/.test(name))
      .sort();
    if (inside.length === 0) throw inputError(path, undefined, 'the folder holds no .ndjson or .ndjson.gz file');
    files.push(...inside.map((name) => join(path, name)));
  }
  const twice = files.find((path, index) => files.indexOf(path) !== index);
  if (twice !== undefined) {
    throw usageError({
      code: 'input_twice',
      what: `the data file ${twice} is named twice`,
      next: 'name each file once',
    });
  }
  return files;
}

/** A cache that cannot be written (full disk, no rights) only costs the next start its time. */
function writeCache(path: string, files: FileInspection[]): void {
  const fresh = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(fresh, `${JSON.stringify({ version: 1, files })}\n`);
    renameSync(fresh, path);
  } catch {
    rmSync(fresh, { force: true });
  }
}

/** Most files whose check is remembered. */
const CACHED_FILES = 256;

async function inspectFile(path: string, stamp: string): Promise<FileInspection> {
  const counts: Record<string, number> = {};
  const symbols = new Set<string>();
  const hash = createHash('sha256');
  let lines = 0;
  let first: bigint | undefined;
  let last: bigint | undefined;
  let firstTick: bigint | undefined;
  for await (const batch of readLines(path)) {
    for (const { bytes, number } of batch) {
      lines += 1;
      hash.update(bytes).update('\n');
      let split: ReturnType<typeof checkLine>;
      try {
        split = checkLine(bytes);
      } catch (error) {
        throw inputError(path, number, (error as Error).message, error);
      }
      if (!split) continue;
      const letter = kindLetters[split.code] as string;
      counts[letter] = (counts[letter] ?? 0) + 1;
      symbols.add(split.symbol);
      if (first === undefined || split.eventNs < first) first = split.eventNs;
      if (last === undefined || split.eventNs > last) last = split.eventNs;
      if ((letter === 't' || letter === 'q') && firstTick === undefined) firstTick = split.eventNs;
    }
  }
  return {
    path,
    stamp,
    lines,
    counts,
    symbols: [...symbols].sort(),
    first_ns: first?.toString() ?? null,
    last_ns: last?.toString() ?? null,
    first_tick_ns: firstTick?.toString() ?? null,
    sha256: hash.digest('hex'),
  };
}

/**
 * Checks the files.
 * @param cachePath where results are kept; undefined checks anew each time
 * @throws `input_broken` (exit 2) naming file and line
 */
export async function inspectFiles(paths: readonly string[], cachePath?: string): Promise<FileInspection[]> {
  const cache = readCache(cachePath);
  const found: FileInspection[] = [];
  let isNew = false;
  for (const path of paths) {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (!stat) throw inputError(path, undefined, 'there is no such file');
    const stamp = [stat.size, stat.mtimeNs, stat.ctimeNs, stat.ino].join(':');
    const known = cache.find((item) => item.path === path && item.stamp === stamp);
    isNew ||= known === undefined;
    found.push(known ?? (await inspectFile(path, stamp)));
  }
  if (cachePath !== undefined && isNew) {
    const others = cache.filter((item) => !paths.includes(item.path));
    writeCache(cachePath, [...found, ...others].slice(0, CACHED_FILES));
  }
  return found;
}
