/**
 * The broker's memory: every order event as one line of NDJSON, appended before anybody is told of it.
 * Guarantees: an append is in the kernel before the call returns, so kill -9 loses nothing that was answered or sent; a last
 * line torn by a kill is cut off at the next start (nobody was told of it); damage before the last line is an error, never
 * skipped. No fsync: a power cut is outside this promise.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { TorghutError } from '../../lib/service/errors.ts';

const entrySchema = z.looseObject({ seq: z.number().int().positive(), at: z.string(), kind: z.string() });

/** One line. `at` is market time (RFC 3339); the rest depends on `kind`. */
export type JournalEntry = z.infer<typeof entrySchema>;

/** Every how many entries the place in the file is remembered, for paging without a scan from the start. */
const INDEX_STEP = 256;

export interface Journal {
  /** Sequence of the newest entry, 0 when empty. */
  readonly last: number;
  /** Appends one entry and returns it with its sequence. @throws `journal_unwritable`, with nothing appended */
  append(entry: { at: string; kind: string } & Record<string, unknown>): JournalEntry;
  /** Entries after a sequence, oldest first. */
  read(after: number, limit: number): JournalEntry[];
  close(): void;
}

/**
 * Opens the journal of a folder and replays it.
 * @param onEntry called for every stored entry, oldest first, before the call returns
 * @throws `journal_damaged` (exit 1) naming the line
 */
export function openJournal(directory: string, onEntry: (entry: JournalEntry) => void): Journal {
  const path = join(directory, 'trading.ndjson');
  const stored = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  const end = stored.lastIndexOf(0x0a) + 1;
  const fd = openSync(path, 'a+');
  // The rest after the last newline is an append that a kill cut short.
  if (end < stored.length) ftruncateSync(fd, end);
  const offsets: number[] = [];
  let last = 0;
  let size = 0;
  while (size < end) {
    const next = stored.indexOf(0x0a, size) + 1;
    const entry = parseLine(stored.toString('utf8', size, next - 1), path, last + 1);
    if (last % INDEX_STEP === 0) offsets.push(size);
    last = entry.seq;
    size = next;
    onEntry(entry);
  }
  return {
    get last() {
      return last;
    },
    append: (fields) => {
      const entry = { seq: last + 1, ...fields };
      const line = Buffer.from(`${JSON.stringify(entry)}\n`);
      try {
        for (let written = 0; written < line.length; ) written += writeSync(fd, line, written);
      } catch (error) {
        // Nobody was told of this entry: the next one must not follow half a line.
        ftruncateSync(fd, size);
        throw unwritable(path, error);
      }
      if (last % INDEX_STEP === 0) offsets.push(size);
      last += 1;
      size += line.length;
      return entry;
    },
    read: (after, limit) => readEntries(fd, offsets, size, after, limit, path),
    close: () => closeSync(fd),
  };
}

function parseLine(line: string, path: string, expected: number): JournalEntry {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const parsed = entrySchema.safeParse(value);
  if (parsed.success && parsed.data.seq === expected) return parsed.data;
  throw new TorghutError({
    code: 'journal_damaged',
    what: `entry ${expected} of the trading journal ${path} cannot be read`,
    why: parsed.success ? `it carries the sequence ${parsed.data.seq}` : 'it is no journal entry',
    next: 'restore the file, or start over with an empty home folder',
  });
}

function unwritable(path: string, cause: unknown): TorghutError {
  return new TorghutError({
    code: 'journal_unwritable',
    what: `cannot write the trading journal ${path}`,
    why: (cause as Error).message,
    next: 'free space on its disk; orders are taken again as soon as it can be written',
    canRetry: true,
    cause,
  });
}

function readEntries(
  fd: number,
  offsets: number[],
  size: number,
  after: number,
  limit: number,
  path: string,
): JournalEntry[] {
  const found: JournalEntry[] = [];
  const step = Math.floor(after / INDEX_STEP);
  let at = offsets[step];
  if (at === undefined) return found;
  let seq = step * INDEX_STEP + 1;
  let rest = Buffer.alloc(0);
  while (found.length < limit && at < size) {
    const chunk = Buffer.alloc(Math.min(256 * 1024, size - at));
    const count = readSync(fd, chunk, 0, chunk.length, at);
    if (count === 0) break;
    at += count;
    rest = Buffer.concat([rest, chunk.subarray(0, count)]);
    let start = 0;
    for (let end = rest.indexOf(0x0a, start); end >= 0 && found.length < limit; end = rest.indexOf(0x0a, start)) {
      if (seq > after) found.push(parseLine(rest.toString('utf8', start, end), path, seq));
      seq += 1;
      start = end + 1;
    }
    rest = rest.subarray(start);
  }
  return found;
}
