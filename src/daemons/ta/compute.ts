/**
 * The bare core over a file: envelopes or provider messages (`file-events.ts`), gzipped or not, in the order in which they stand.
 * Guarantees: the same file gives the same bytes; a line that is none is an error with its number, never left out in silence;
 * at the end of the file market time runs on, so that every window becomes final.
 */
import { codeOf, usageError } from '../../lib/service/errors.ts';
import {
  barRecord,
  formatInstant,
  signalRecord,
  TaEngine,
  type TaOutput,
  type TaSettings,
} from '../../lib/ta/index.ts';
import { type FileEvent, FileEvents } from './file-events.ts';
import { linesOf } from './lines.ts';

/** Market seconds that time runs on after the last event: lateness, waiting corrections and minute bars pass. */
const RUN_ON_SECONDS = 120;
const RUN_ID = 'compute';

export interface ComputeOptions {
  file: string;
  settings: TaSettings;
  /** Takes one JSON object (a bar or signal with its `kind`); a promise slows the reading down. */
  write: (object: string) => Promise<void> | undefined;
}

export interface ComputeSummary {
  events: number;
  bars: number;
  signals: number;
  revisions: number;
  late: number;
  duplicates: number;
  trades_without_price: number;
  unknown_conditions: Record<string, number>;
}

function broken(file: string, line: number, why: string): Error {
  return usageError({
    code: 'data_line_broken',
    what: `line ${line} of ${file} cannot be used`,
    why,
    next: 'correct or remove the line; the file must hold one envelope, provider message or frame of messages per line',
  });
}

/** The object that is given out: the record as it stands in the topics, with the column names of the tables. */
function objectOf(output: Exclude<TaOutput, { kind: 'late' }>, ingestTs: string): string {
  const text =
    output.kind === 'bar'
      ? barRecord(output, ingestTs, RUN_ID).replace('"unpriced":', '"unpriced_count":')
      : signalRecord(output, ingestTs, RUN_ID);
  return `{"kind":"${output.kind}",${text.slice(1)}`;
}

function eventsOf(source: FileEvents, line: string, file: string, number: number): FileEvent[] {
  try {
    return [...source.ofLine(line)];
  } catch (error) {
    throw broken(file, number, (error as Error).message);
  }
}

/** @throws `data_unreadable`, `data_line_broken` (exit 2) */
export async function computeFile(options: ComputeOptions): Promise<ComputeSummary> {
  const { file, settings, write } = options;
  const engine = new TaEngine(settings);
  const source = new FileEvents();
  let waiting: TaOutput[] = [];
  const emit = (output: TaOutput) => void waiting.push(output);
  const drain = async () => {
    const newest = engine.newestEvent;
    const ingestTs = newest ? formatInstant(newest.sec, newest.nano) : '';
    const given = waiting;
    waiting = [];
    for (const output of given) if (output.kind !== 'late') await write(objectOf(output, ingestTs));
  };
  let events = 0;
  let number = 0;
  try {
    for await (const line of linesOf(file)) {
      number += 1;
      for (const event of eventsOf(source, line, file, number)) {
        events += 1;
        if (event.kind === 'progress') engine.observe(event.sec, event.nano, emit);
        else engine.process(event, emit);
      }
      if (waiting.length > 0) await drain();
    }
  } catch (error) {
    if (codeOf(error) === 'data_line_broken') throw error;
    throw usageError({
      code: 'data_unreadable',
      what: `cannot read ${file}${number > 0 ? ` beyond line ${number}` : ''}`,
      why: (error as Error).message,
      next: 'check the path, and that the file is whole',
      cause: error,
    });
  }
  const newest = engine.newestEvent;
  if (newest) engine.observe(newest.sec + RUN_ON_SECONDS, newest.nano, emit);
  await drain();
  const { bars, signals, revisions, late, duplicates, tradesWithoutPrice, unknownConditions } = engine.counters;
  return {
    events, bars, signals, revisions, late, duplicates, trades_without_price: tradesWithoutPrice,
    unknown_conditions: Object.fromEntries(unknownConditions),
  }; // biome-ignore format: one object
}
