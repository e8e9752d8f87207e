/**
 * One LMDB environment of this process: opened once however many writers and readers use it, read-only until somebody writes.
 * Guarantees
 * - A write is one LMDB transaction: all or nothing, acknowledged when visible. kill -9 of any process at any moment loses no
 *   acknowledged commit and tears none: the file lies in the page cache, which outlives processes.
 * - On the wall clock every commit is flushed before it is visible, so a power cut loses nothing either, as far as the disk
 *   honours a flush. On a virtual clock nothing is flushed until the writer closes: a power cut in the middle of a simulated run
 *   may leave a damaged file, and the run has to begin anew.
 *   Measured per commit of three 600-byte values, median and p99: flushed 0.32 and 0.73 ms on an idle disk, 1.4 and 6.7 ms while
 *   the whole pipeline works on two cores; without flushing the meta page 0.22 ms (a power cut then takes the last commits, and
 *   positions in other environments are ahead of the log); without any flush 0.02 ms. lmdb-js's default, `overlappingSync`, was
 *   no faster (0.38 ms) and goes back to an older snapshot after a reboot.
 * - A reader never takes the writer's lock: opening for writing does (lmdb-js opens its database in a write transaction), so
 *   readers open read-only and wait until a writer has created the file. Read transactions end with each read, so an idle or
 *   stopped reader pins no pages.
 * - On a full disk a write throws `log_full`, reads go on, later writes work when there is space (headroom.ts).
 */
import { existsSync, type FSWatcher, mkdirSync, statSync, watch } from 'node:fs';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { codeOf, TorghutError } from '../../service/errors.ts';
import { Headroom, type WriteSize } from './headroom.ts';
import { takeWriterLock } from './writer-lock.ts';

/** The database of an environment: binary keys (layout.ts) to binary values. */
export type Store = RootDatabase<Buffer, Buffer>;

/** Address space, not disk: the file grows as needed. */
const MAP_BYTES = 2 ** 38;
const MAX_READERS = 512;

const options = {
  encoding: 'binary',
  keyEncoding: 'binary',
  mapSize: MAP_BYTES,
  maxReaders: MAX_READERS,
  overlappingSync: false,
} as const;

const smallWrite: WriteSize = { bytes: 65_536, batches: 0, entries: 0 };

/** ENOSPC, EDQUOT, EFBIG as lmdb-js and Node name them, and LMDB's own full map; EIO is LMDB's word for a short write. */
const fullCodes = new Set(['28', 'ENOSPC', '122', 'EDQUOT', '27', 'EFBIG', '-30792', '5', 'EIO']);

function writeError(path: string, error: unknown): unknown {
  if (error instanceof TorghutError || !fullCodes.has(codeOf(error) ?? '')) return error;
  return new TorghutError({
    code: 'log_full',
    what: `the event log ${basename(path)} cannot grow`,
    why: error instanceof Error ? error.message : String(error),
    next: 'make space on the file system of the log; readers go on meanwhile',
    canRetry: true,
    cause: error,
  });
}

export class Environment {
  readonly path: string;
  readonly #isFlushed: boolean;
  #store: Store | undefined;
  #mode: 'read' | 'write' = 'read';
  /** Set while the store changes from read-only to writable, or back after a failed write. */
  #isReopening = false;
  #headroom: Headroom | undefined;
  #references = 0;
  #queue: Promise<unknown> = Promise.resolve();
  #watcher: FSWatcher | undefined;
  #watchFailed = false;
  readonly #listeners = new Set<() => void>();

  constructor(path: string, isFlushed: boolean) {
    this.path = path;
    this.#isFlushed = isFlushed;
  }

  addReference(): void {
    this.#references += 1;
  }

  /** Has this process a working notification of changes, or must readers poll faster? */
  get isWatched(): boolean {
    return this.#watcher !== undefined;
  }

  /**
   * Reads from the newest snapshot.
   * @returns undefined when no writer has created the environment yet
   */
  read<T>(body: (store: Store) => T): T | undefined {
    const store = this.#openForReading();
    if (!store) return undefined;
    store.resetReadTxn();
    try {
      return body(store);
    } finally {
      store.resetReadTxn();
    }
  }

  /**
   * Runs `body` in one write transaction; writes of one process run one after the other.
   * @param size upper bound of what an owner's only writer will write; without it a few small entries
   * @throws what `body` throws (nothing is written then), `log_full`, `log_locked`
   */
  write<T>(body: (store: Store) => T, size?: WriteSize): Promise<T> {
    const run = this.#queue.then(() => this.#writeNow(body, size));
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /** Calls back after a commit of any process; also now and then for nothing. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#watch();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#watcher?.close();
      this.#watcher = undefined;
    };
  }

  /** Gives back one reference; the last one closes the files, unless somebody takes it up again meanwhile. */
  async release(): Promise<void> {
    this.#references -= 1;
    const run = this.#queue.then(async () => {
      if (this.#references > 0) return;
      this.#watcher?.close();
      this.#watcher = undefined;
      await this.#closeStore();
      if (this.#references === 0) environments.delete(this.path);
    });
    this.#queue = run.catch(() => undefined);
    await run;
  }

  #openForReading(): Store | undefined {
    if (this.#store || this.#isReopening) return this.#store;
    // A failing open of lmdb-js keeps a lock for ever: open only what a writer has completely made (two meta pages).
    const size = statSync(join(this.path, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0;
    if (size < 8_192) return undefined;
    this.#store = open<Buffer, Buffer>(this.path, { ...options, readOnly: true });
    this.#mode = 'read';
    this.#watch();
    return this.#store;
  }

  async #writeNow<T>(body: (store: Store) => T, size: WriteSize | undefined): Promise<T> {
    let isInBody = false;
    try {
      mkdirSync(this.path, { recursive: true });
      const release = await takeWriterLock(this.path);
      try {
        const store = await this.#openForWriting();
        this.#headroom ??= new Headroom(this.path);
        this.#headroom.take(store, size ?? smallWrite, size !== undefined);
        let result: { value: T } | undefined;
        isInBody = true;
        // The callback must return nothing thenable: lmdb-js would keep the transaction open and wait for it.
        store.transactionSync(() => {
          result = { value: body(store) };
          isInBody = false;
        });
        return (result as unknown as { value: T }).value;
      } finally {
        release();
        // A caller that commits in a loop must not starve timers and sockets: a transaction is synchronous.
        await setImmediate();
      }
    } catch (error) {
      // A commit that failed in LMDB can leave the environment unusable for writing (MDB_PANIC): open it anew.
      if (!isInBody && !(error instanceof TorghutError)) await this.#closeStore();
      throw writeError(this.path, error);
    }
  }

  async #openForWriting(): Promise<Store> {
    if (this.#store && this.#mode === 'write') return this.#store;
    await this.#closeStore();
    this.#isReopening = true;
    try {
      this.#store = open<Buffer, Buffer>(this.path, { ...options, noSync: !this.#isFlushed });
      this.#mode = 'write';
    } finally {
      this.#isReopening = false;
    }
    this.#watch();
    return this.#store;
  }

  async #closeStore(): Promise<void> {
    this.#headroom?.close();
    this.#headroom = undefined;
    const store = this.#store;
    if (!store) return;
    this.#isReopening = true;
    this.#store = undefined;
    try {
      await store.close();
    } finally {
      this.#isReopening = false;
    }
  }

  #watch(): void {
    if (this.#watcher || this.#watchFailed || this.#listeners.size === 0 || !existsSync(this.path)) return;
    try {
      this.#watcher = watch(this.path, { persistent: false }, () => {
        for (const listener of this.#listeners) listener();
      });
      this.#watcher.on('error', () => {
        this.#watcher?.close();
        this.#watcher = undefined;
        this.#watchFailed = true;
      });
    } catch {
      // No more inotify watches: readers poll.
      this.#watchFailed = true;
    }
  }
}

const environments = new Map<string, Environment>();

/**
 * The environment of a folder (without symbolic links in its path), shared within this process; `release()` it once per call.
 * @param isFlushed flush every commit to the disk (the first opener of this process decides)
 */
export function environmentAt(path: string, isFlushed: boolean): Environment {
  let found = environments.get(path);
  if (!found) {
    found = new Environment(path, isFlushed);
    environments.set(path, found);
  }
  found.addReference();
  return found;
}
