/**
 * A live run for the tests of pause and replay: the embedded log, the ClickHouse engine, ta and its sink as processes, on a
 * virtual clock that the test owns.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { Command } from 'commander';
import { vi } from 'vitest';
import { findCommand } from '../../src/commands/table.ts';
import { openEventLog } from '../../src/lib/log/open.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';
import { describeError, TorghutError } from '../../src/lib/service/errors.ts';
import { findService, homePaths } from '../../src/lib/service/home.ts';
import { clientOf, rowsOf, type StoreProcess, startStore, until } from '../embedded/rig.ts';
import { type Finished, torghut } from '../support/torghut.ts';
import { type Feed, type FeedRecord, openFeed } from './feed.ts';

export type Part = 'engine' | 'sink';
const scripts: Record<Part, string> = { engine: 'test/ta/engine-process.ts', sink: 'test/sink/child.ts' };
const services = { engine: 'ta', sink: 'sink' } as const;

export interface Status {
  phase?: string;
  is_paused?: boolean;
  newest_event_ts?: string | null;
  rows?: { microbars: number; signals: number };
  tasks?: unknown[];
  control?: { paused: boolean; reason: string | null } | null;
}

export interface Answer {
  code: number;
  value: Record<string, unknown>;
  /** What was told to the person who decides. */
  stderr: string;
}

export class LiveRun {
  readonly feed: Feed;
  readonly store: StoreProcess;
  readonly client: ClickHouseClient;
  readonly clock: ClockOwner;
  runId = 'test';
  readonly #renewing: NodeJS.Timeout;
  readonly #children = new Map<Part, ChildProcess>();

  private constructor(feed: Feed, store: StoreProcess, clock: ClockOwner) {
    this.feed = feed;
    this.store = store;
    this.client = clientOf(store.endpoint);
    this.clock = clock;
    this.#renewing = setInterval(() => clock.renew(), 50);
  }

  static async open(): Promise<LiveRun> {
    const feed = await openFeed();
    const clock = ownClockFile(homePaths.clock(feed.home), 0n, 0);
    return new LiveRun(feed, await startStore('clickhouse', feed.home), clock);
  }

  start(part: Part): void {
    const child = spawn(process.execPath, [resolve(scripts[part]), this.feed.home], {
      env: this.env({ TORGHUT_PARENT: 'stdin' }),
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    this.#children.set(part, child);
  }

  env(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    return { ...this.feed.env, TORGHUT_RUN_ID: this.runId, TA_CLICKHOUSE_FLUSH_MS: '100', ...extra };
  }

  async kill(part: Part, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#children.get(part);
    if (!child) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await gone;
    this.#children.delete(part);
  }

  async status(part: Part): Promise<Status | undefined> {
    const endpoint = findService(this.feed.home, services[part]);
    if (!endpoint) return undefined;
    try {
      const response = await fetch(`${endpoint.url}/status`, { signal: AbortSignal.timeout(2_000) });
      return (await response.json()) as Status;
    } catch {
      return undefined;
    }
  }

  async write(records: readonly FeedRecord[]): Promise<void> {
    for (let at = 0; at < records.length; at += 5_000) {
      const part = records.slice(at, at + 5_000).map(({ record }) => record);
      await this.feed.writer.commit({ records: part });
    }
  }

  /** Everything that the engine has committed is stored, and it has merged everything up to a market time. */
  async untilStored(atMs: number): Promise<void> {
    // Opened anew: topics that were made anew have other files.
    const log = await openEventLog({ home: this.feed.home, env: {}, clock: this.clock });
    const topics = [defaultTopics.taBars, defaultTopics.taSignals];
    try {
      await until(
        `everything up to ${new Date(atMs).toISOString()} is stored`,
        async () => {
          const tasks = (await this.status('engine'))?.tasks as { watermark: string | null }[] | undefined;
          if (tasks?.length !== 3) return false;
          if (tasks.some(({ watermark }) => watermark === null || Date.parse(watermark) < atMs)) return false;
          const stored = await log.groupOffsets(`torghut-ta-sink-${this.runId}`, topics);
          const ends = await log.describeTopics(topics);
          return ends.every(({ name, partitions }) =>
            partitions.every(
              ({ partition, latest }) =>
                (stored.find((place) => place.topic === name && place.partition === partition)?.offset ?? 0n) >= latest,
            ),
          );
        },
        120_000,
      );
    } finally {
      await log.close();
    }
  }

  rows<T>(query: string): Promise<T[]> {
    return rowsOf<T>(this.client, query);
  }

  /** One number for a query's whole answer. */
  async hash(query: string): Promise<string> {
    const [row] = await this.rows<{ rows: string; hash: string }>(
      `SELECT toString(count()) AS rows, toString(sum(cityHash64(toString(tuple(*))))) AS hash FROM (${query})`,
    );
    return `${row?.rows} ${row?.hash}`;
  }

  /** Runs a command as an operator does. */
  command(args: readonly string[], extra: NodeJS.ProcessEnv = {}): Promise<Finished> {
    return torghut([...args, '--home', this.feed.home], this.env(extra));
  }

  /**
   * The same in this process, which saves its start: for everything that is not to be killed.
   * @throws an error whose message begins with the code
   */
  async json(args: readonly string[], extra: NodeJS.ProcessEnv = {}): Promise<Answer> {
    const found = findCommand(args);
    if (found.kind !== 'command') throw new Error(`${args.join(' ')} is no command`);
    const command = new Command('torghut').exitOverride();
    (await found.entry.load()).configure(command);
    const ours = ['TORGHUT_CLOCK', 'TORGHUT_RUN_ID', 'KAFKA_BOOTSTRAP', 'LOG_LEVEL'];
    const env = { ...Object.fromEntries(ours.map((name) => [name, this.env()[name]])), ...extra };
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    let [stdout, stderr] = ['', ''];
    const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      stdout += String(text);
      return true;
    });
    const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      stderr += String(text);
      return true;
    });
    try {
      const rest = args.slice(found.words.length);
      await command.parseAsync([...rest, '--home', this.feed.home, '-o', 'json'], { from: 'user' });
      return { code: Number(process.exitCode ?? 0), value: JSON.parse(stdout), stderr };
    } catch (error) {
      const next = error instanceof TorghutError ? ` next: ${error.next}` : '';
      throw new Error(`${describeError(error)}${next}`, { cause: error });
    } finally {
      out.mockRestore();
      err.mockRestore();
      vi.unstubAllEnvs();
      process.exitCode = undefined;
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#renewing);
    for (const part of [...this.#children.keys()]) await this.kill(part);
    await this.client.close();
    await this.store.kill();
    await this.feed.close();
    this.clock.close();
    rmSync(this.feed.home, { recursive: true, force: true });
  }
}
