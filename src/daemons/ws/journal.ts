/**
 * Keeps what no REST call returns (halts, corrections, cancels, LULD, order events) from its receipt until its commit is
 * durable, so that a death in between does not lose it (design 5).
 * Guarantees: `append` returns after the kernel has the bytes, so kill -9 cannot take them; an entry that is in the log already
 * is recognised by its id, which is a header of the record (`spool_id`).
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const entrySchema = z.object({
  id: z.string(),
  /** Market ms of receipt: the record's timestamp is never earlier. */
  at: z.number(),
  kind: z.enum(['market', 'order']),
  raw: z.string(),
});

export type JournalEntry = z.infer<typeof entrySchema>;

export interface Journal {
  /**
   * Writes an entry. @returns the number that names it within this process; 0 when the disk refused it: the message then goes
   * on without this guard
   */
  append(kind: JournalEntry['kind'], raw: string, atMs: number): number;
  /** Takes over an entry that an earlier process left, under its old id. */
  adopt(entry: JournalEntry): number;
  /** The `spool_id` of an entry. */
  idOf(number: number): string;
  /** The entry is durable in the log. */
  settle(number: number): void;
  /** Empties the file when nothing is pending; `settle` does it by itself. */
  trim(): void;
  readonly pending: number;
  close(): void;
}

/**
 * Opens the journal of a folder. @param epoch makes the ids of this process unique
 * @returns with it the entries that an earlier process left: the caller looks in the log which of them are there, and adopts
 *   the others before it appends or trims
 */
export function openJournal(folder: string, epoch: string): { journal: Journal; left: JournalEntry[] } {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'journal.ndjson');
  const { entries: left, isTorn } = readEntries(path);
  const fd = openSync(path, 'a+', 0o600);
  if (isTorn) writeSync(fd, '\n');
  let counter = 0;
  const pending = new Map<number, string>();
  const trim = () => {
    if (pending.size === 0) ftruncateSync(fd, 0);
  };
  let isBroken = false;
  const endTornLine = () => {
    try {
      isBroken = writeSync(fd, '\n') !== 1;
    } catch {
      isBroken = true;
    }
  };
  const journal: Journal = {
    append: (kind, raw, atMs) => {
      counter += 1;
      if (isBroken) endTornLine();
      const entry: JournalEntry = { id: `${epoch}-${counter}`, at: atMs, kind, raw };
      const line = Buffer.from(`${JSON.stringify(entry)}\n`, 'utf8');
      try {
        if (writeSync(fd, line) !== line.length) throw new Error('the disk is full');
      } catch {
        // Whatever part was written must not spoil the next line; a torn line is left out when the file is read.
        isBroken = true;
        return 0;
      }
      pending.set(counter, entry.id);
      return counter;
    },
    adopt: (entry) => {
      counter += 1;
      pending.set(counter, entry.id);
      return counter;
    },
    idOf: (number) => {
      const id = pending.get(number);
      if (id === undefined) throw new Error(`journal entry ${number} is not pending`);
      return id;
    },
    settle: (number) => {
      if (pending.delete(number)) trim();
    },
    trim,
    get pending() {
      return pending.size;
    },
    close: () => closeSync(fd),
  };
  return { journal, left };
}

/** Entries of a file; a torn last line was never acknowledged to anybody and is left out. */
function readEntries(path: string): { entries: JournalEntry[]; isTorn: boolean } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return { entries: [], isTorn: false };
  }
  const entries: JournalEntry[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    try {
      entries.push(entrySchema.parse(JSON.parse(line)));
    } catch {
      // Torn by a death in the middle of the write.
    }
  }
  return { entries, isTorn: text !== '' && !text.endsWith('\n') };
}
