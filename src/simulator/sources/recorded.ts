/**
 * Recorded messages of one or several files, merged by time.
 * Order: by time; at equal time trades and their corrections before quotes before the rest, then the order in which the
 * files were named; within a file its own order is never changed. A line earlier than one before it in the same file came
 * late: it keeps its own time and becomes public at its place. Bars become public when their minute is over.
 */
import type { SplitLine } from '../market/message-line.ts';
import { kindLetters, splitLine } from '../market/message-line.ts';
import type { FileInspection } from './inspect.ts';
import { inputError, readLines } from './ndjson-file.ts';
import { BAR_DELAY_NS, type EventSource, type SourceBatch, type SourceEvent, UPDATED_BAR_DELAY_NS } from './source.ts';

export interface RecordedOptions {
  files: readonly FileInspection[];
  /** Only events at or after this time. */
  fromNs?: bigint | undefined;
  /** Only events before this time. */
  toNs?: bigint | undefined;
  /** Only these symbols. */
  symbols?: readonly string[] | undefined;
}

/** Rank at equal time. */
const rank: Record<string, number> = { t: 0, c: 0, x: 0, q: 1 };
const rankOfCode = kindLetters.map((letter) => rank[letter] ?? 2);
const BAR = kindLetters.indexOf('b');
const UPDATED_BAR = kindLetters.indexOf('u');
const DAILY_BAR = kindLetters.indexOf('d');
/** How far behind its place a late line may lie: reading stops this far after `to`. */
const LATE_LIMIT_NS = 60_000_000_000n;
const BATCH_EVENTS = 4_096;

/** One file as a queue of events. */
class FileQueue {
  private readonly lines: AsyncGenerator<{ bytes: Buffer; number: number }[], void, undefined>;
  private events: SourceEvent[] = [];
  private at = 0;
  private latestNs = -(1n << 62n);
  private isDone = false;
  private readonly path: string;
  private readonly options: RecordedOptions;
  private readonly wanted: ReadonlySet<string> | undefined;

  constructor(path: string, options: RecordedOptions, wanted: ReadonlySet<string> | undefined) {
    this.path = path;
    this.options = options;
    this.wanted = wanted;
    this.lines = readLines(path);
  }

  head(): SourceEvent | undefined {
    return this.events[this.at];
  }

  take(): void {
    this.at += 1;
  }

  /** Reads on until an event is there or the file ends. Returns false at the end. */
  async fill(): Promise<boolean> {
    while (this.at >= this.events.length) {
      if (this.isDone) return false;
      const next = await this.lines.next();
      if (next.done) {
        this.isDone = true;
        return false;
      }
      this.events = [];
      this.at = 0;
      for (const { bytes, number } of next.value) {
        if (this.isDone) break;
        let split: SplitLine | undefined;
        try {
          split = splitLine(bytes);
        } catch (error) {
          throw inputError(this.path, number, (error as Error).message, error);
        }
        if (split) this.add(split);
      }
      if (this.isDone) await this.lines.return();
    }
    return true;
  }

  async close(): Promise<void> {
    this.isDone = true;
    await this.lines.return();
  }

  private add(split: SplitLine): void {
    const { code, symbol, eventNs, line } = split;
    const { fromNs, toNs } = this.options;
    // A daily bar carries the day's start: it says nothing about where in the day its line stands.
    if (code !== DAILY_BAR && eventNs > this.latestNs) this.latestNs = eventNs;
    if (toNs !== undefined && this.latestNs >= toNs + LATE_LIMIT_NS) {
      this.isDone = true;
      return;
    }
    if ((fromNs !== undefined && eventNs < fromNs) || (toNs !== undefined && eventNs >= toNs)) return;
    if (this.wanted && !this.wanted.has(symbol)) return;
    const readNs = this.latestNs > eventNs ? this.latestNs : eventNs;
    const due = code === BAR ? eventNs + BAR_DELAY_NS : code === UPDATED_BAR ? eventNs + UPDATED_BAR_DELAY_NS : readNs;
    this.events.push({ code, symbol, eventNs, readNs, releaseNs: due > readNs ? due : readNs, line });
  }
}

export function recordedSource(options: RecordedOptions): EventSource {
  const wanted = options.symbols && options.symbols.length > 0 ? new Set(options.symbols) : undefined;
  const queues = options.files.map((file) => new FileQueue(file.path, options, wanted));
  const symbols = [...new Set(options.files.flatMap((file) => file.symbols))]
    .filter((symbol) => !wanted || wanted.has(symbol))
    .sort();
  const firsts = options.files.flatMap((file) => (file.first_ns === null ? [] : [BigInt(file.first_ns)]));
  const first = firsts.reduce<bigint | undefined>(
    (least, ns) => (least === undefined || ns < least ? ns : least),
    undefined,
  );
  const startNs = options.fromNs ?? ((first ?? 0n) / 1_000_000_000n) * 1_000_000_000n;
  let open = queues;

  const next = async (): Promise<SourceBatch | undefined> => {
    const events: SourceEvent[] = [];
    while (events.length < BATCH_EVENTS) {
      let least: FileQueue | undefined;
      let leastHead: SourceEvent | undefined;
      let ended = false;
      for (const queue of open) {
        let head = queue.head();
        if (!head) {
          // Waiting for one file may take long: hand over what is sure first.
          if (!(await queue.fill())) {
            ended = true;
            continue;
          }
          head = queue.head() as SourceEvent;
        }
        if (
          !leastHead ||
          head.readNs < leastHead.readNs ||
          (head.readNs === leastHead.readNs && (rankOfCode[head.code] ?? 2) < (rankOfCode[leastHead.code] ?? 2))
        ) {
          least = queue;
          leastHead = head;
        }
      }
      if (ended) open = open.filter((queue) => queue.head() !== undefined);
      if (!least || !leastHead) break;
      events.push(leastHead);
      least.take();
    }
    const last = events[events.length - 1];
    if (!last) return undefined;
    // More of the same instant may follow in the next batch.
    return { events, completeNs: last.readNs - 1n };
  };

  return {
    hasBars: options.files.some((file) => (file.counts.b ?? 0) > 0),
    symbols,
    startNs,
    next,
    close: () => void Promise.all(queues.map((queue) => queue.close())).catch(() => undefined),
  };
}
