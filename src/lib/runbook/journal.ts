/**
 * What an operator's command changed, as lines of JSON in the home: <home>/journal/<name>.ndjson, never shortened.
 * An entry that cannot be written (a full disk is a reason to run such a command) is kept and written with the next one.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface RunbookJournal {
  record(entry: Record<string, unknown>): void;
  /** Entries that could not be written yet. */
  readonly unwritten: number;
  readonly path: string;
}

export function openJournal(home: string, name: string): RunbookJournal {
  const folder = join(home, 'journal');
  const path = join(folder, `${name}.ndjson`);
  let waiting: string[] = [];
  return {
    path,
    get unwritten() {
      return waiting.length;
    },
    record: (entry) => {
      waiting.push(JSON.stringify(entry));
      try {
        mkdirSync(folder, { recursive: true });
        const file = openSync(path, 'a', 0o600);
        try {
          // A line that a full disk cut off is ended first: readers skip what is not JSON.
          const text = Buffer.from(`\n${waiting.join('\n')}\n`);
          for (let at = 0; at < text.length; ) at += writeSync(file, text, at);
          fsyncSync(file);
          waiting = [];
        } finally {
          closeSync(file);
        }
      } catch {
        // Kept; `unwritten` tells.
      }
    },
  };
}
