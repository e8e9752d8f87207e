/**
 * What ta is told to do: a compacted topic of one partition holds, for each part, whether it is paused, by whom and why.
 * Guarantees: the word lies in the event log, so every process of ta obeys it wherever it runs, and after a restart too: a
 * process reads it before it does anything, then follows it. A part without a word runs.
 */
import { z } from 'zod';
import type { EventLog, LogRecord, TopicSpec } from '../../lib/log/port.ts';
import { describeError } from '../../lib/service/errors.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { sleep } from '../../lib/service/machine.ts';
import { readToEnd } from '../ws/tail.ts';

export const defaultControlTopic = 'torghut.ta.control.v1';

export const taParts = ['engine', 'sink'] as const;
/** The engine computes, the sink stores. */
export type TaPartName = (typeof taParts)[number];

const controlSchema = z.object({
  paused: z.boolean(),
  reason: z.string().nullable(),
  actor: z.string().nullable(),
  /** Market time, RFC 3339. */
  at: z.string().nullable(),
});
export type PartControl = z.infer<typeof controlSchema>;
export type TaControls = Record<TaPartName, PartControl>;

const running: PartControl = { paused: false, reason: null, actor: null, at: null };

export function controlTopicSpec(name: string): TopicSpec {
  return { name, partitions: 1, retentionMs: -1, cleanup: 'compact', owner: 'ta-control' };
}

function take(controls: TaControls, { key, value }: LogRecord): void {
  const part = taParts.find((name) => name === key);
  if (part === undefined) return;
  controls[part] = value === null ? running : controlSchema.parse(JSON.parse(value.toString('utf8')));
}

/** The words as they are now. */
export async function readControls(log: EventLog, topic: string): Promise<TaControls> {
  const controls: TaControls = { engine: running, sink: running };
  const [description] = await log.describeTopics([topic]);
  const place = description?.partitions[0];
  if (place) {
    await readToEnd(log, { topic, partition: 0 }, place.earliest, place.latest, (record) => take(controls, record));
  }
  return controls;
}

/** Gives parts a new word, in one commit. @param atMs market ms */
export async function writeControls(
  log: EventLog,
  topic: string,
  words: Partial<TaControls>,
  atMs: number,
): Promise<void> {
  const writer = await log.openWriter({ owner: 'ta-control' });
  try {
    const records = Object.entries(words).map(([key, word]) => ({
      topic,
      partition: 0,
      key,
      value: Buffer.from(JSON.stringify(word)),
      timestampMs: atMs,
    }));
    await writer.commit({ records });
  } finally {
    await writer.close();
  }
}

/** The word for one part, followed. */
export interface PauseGate {
  /** What was last told. */
  readonly control: PartControl;
  /** Aborts when a pause begins; another one after each pause. */
  readonly pausing: AbortSignal;
  /** Resolves when there is no pause, or when the signal aborts. */
  untilRuns(signal: AbortSignal): Promise<void>;
}

/**
 * Reads the words, then follows them until the signal aborts.
 * @param onChange is called after each change; the next one waits for it
 */
export async function followControl(options: {
  log: EventLog;
  topic: string;
  part: TaPartName;
  signal: AbortSignal;
  logger: Logger;
  onChange?: (control: PartControl) => Promise<void>;
}): Promise<PauseGate> {
  const { log, topic, part, signal, logger, onChange } = options;
  await log.ensureTopics([controlTopicSpec(topic)]);
  const [description] = await log.describeTopics([topic]);
  let position = description?.partitions[0]?.latest ?? 0n;
  let control = (await readControls(log, topic))[part];
  let pausing = new AbortController();
  let waiting: (() => void)[] = [];
  if (control.paused) pausing.abort();

  const apply = async (next: PartControl) => {
    const isChange = next.paused !== control.paused;
    control = next;
    if (!isChange) return;
    logger.warn({ part, reason: next.reason, actor: next.actor }, next.paused ? 'paused' : 'resumed');
    if (next.paused) pausing.abort();
    else {
      pausing = new AbortController();
      for (const wake of waiting) wake();
      waiting = [];
    }
    await onChange?.(next);
  };

  const follow = async () => {
    while (!signal.aborted) {
      try {
        const reader = await log.openReader({ partitions: [{ topic, partition: 0, start: position }] });
        try {
          while (!signal.aborted) {
            const records = await reader.poll({ maxRecords: 100, waitMs: 1_000, signal });
            const words: TaControls = { engine: control, sink: control };
            for (const record of records) take(words, record);
            if (records.some(({ key }) => key === part)) await apply(words[part]);
            position = reader.positions()[0]?.offset ?? position;
          }
        } finally {
          await reader.close();
        }
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: describeError(error) }, 'the control topic cannot be read; the last word holds');
        await sleep(1_000, signal);
      }
    }
  };
  void follow();

  return {
    get control() {
      return control;
    },
    get pausing() {
      return pausing.signal;
    },
    untilRuns: async (until) => {
      while (control.paused && !until.aborted) {
        await new Promise<void>((resolve) => {
          const done = () => {
            until.removeEventListener('abort', done);
            resolve();
          };
          waiting.push(done);
          until.addEventListener('abort', done, { once: true });
        });
      }
    },
  };
}
