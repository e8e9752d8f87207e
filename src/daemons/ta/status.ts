/**
 * `torghut ta status`: what a running ta says about itself, and what of it an operator should look at, in the order of the
 * runbook (session, tasks, input against watermark, events that could not be used, sink).
 */
import { z } from 'zod';
import { describeError, exitCode, TorghutError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';

const TIMEOUT_MS = 5_000;
/** Market ms after which the watermark of a partition is too old in the regular session (freshness of signals). */
export const staleAfterMs = 30_000;
/** Share of the input that may be late or unusable. */
export const wasteLimit = 0.001;

const controlSchema = z.object({ paused: z.boolean(), reason: z.string().nullable(), actor: z.string().nullable() });
const offsets = z.record(z.string(), z.string().regex(/^\d+$/).transform(BigInt));
const engineSchema = z.object({
  run_id: z.string(),
  phase: z.string(),
  ready: z.boolean(),
  market_now: z.string(),
  session: z.string(),
  control: controlSchema.nullable(),
  tasks: z.array(
    z.object({
      partition: z.number(),
      positions: offsets,
      ends: offsets,
      watermark: z.string().nullable(),
      symbols: z.number(),
    }),
  ),
  records: z.number(),
  bars_out: z.number(),
  signals_out: z.number(),
  revisions: z.number(),
  late: z.number(),
  duplicates: z.number(),
  rejected: z.number(),
  trades_without_price: z.number(),
  unknown_conditions: z.record(z.string(), z.number()),
});
const sinkSchema = z.object({
  rows: z.object({ microbars: z.number(), signals: z.number() }),
  newest_event_ts: z.string().nullable(),
  circuit: z.enum(['closed', 'open', 'half_open']),
  error: z.string().nullable(),
  control: controlSchema.nullable(),
  is_paused: z.boolean(),
});

export interface TaskView {
  partition: number;
  symbols: number;
  /** Records of the inputs that are not read yet. */
  lag: number;
  watermark: string | null;
  /** Market ms from the watermark to now; null before the first event. */
  watermark_age_ms: number | null;
  positions: Record<string, string>;
}

export interface Finding {
  code: string;
  what: string;
  next: string;
}

export interface TaStatusView extends Record<string, unknown> {
  state: 'ok' | 'problem';
  findings: Finding[];
  tasks: TaskView[];
}

/** @throws `ta_unreachable` (exit 11) */
export async function readTaStatus(options: { home: string; url?: string | undefined }): Promise<TaStatusView> {
  const url = options.url ?? findService(options.home, 'ta')?.url;
  if (url === undefined) throw unreachable('none is running in this home');
  let engine: z.infer<typeof engineSchema>;
  try {
    engine = engineSchema.parse(await ask(url));
  } catch (error) {
    throw unreachable(
      error instanceof z.ZodError ? `it is no ta of this version at ${url}` : describeError(error),
      error,
    );
  }
  const tasks = engine.tasks.map((task): TaskView => {
    const lag = Object.entries(task.ends).reduce((sum, [topic, end]) => sum + end - (task.positions[topic] ?? 0n), 0n);
    const age = task.watermark === null ? null : Date.parse(engine.market_now) - Date.parse(task.watermark);
    return {
      partition: task.partition,
      symbols: task.symbols,
      lag: Number(lag < 0n ? 0n : lag),
      watermark: task.watermark,
      watermark_age_ms: age === null ? null : Math.max(0, age),
      positions: Object.fromEntries(
        Object.entries(task.positions).map(([topic, offset]) => [topic, offset.toString()]),
      ),
    };
  });
  // An address names an engine somewhere; the sink is asked where the home knows it.
  const sink = options.url === undefined ? await askSink(options.home) : undefined;
  const findings = [...engineFindings(engine, tasks), ...(sink ? sinkFindings(sink) : [])];
  const { tasks: _tasks, ...counters } = engine;
  return {
    state: findings.length === 0 ? 'ok' : 'problem',
    ...counters,
    lag: tasks.reduce((sum, task) => sum + task.lag, 0),
    sink: sink === undefined ? null : 'absent' in sink ? { error: sink.absent } : sink,
    findings,
    tasks,
  };
}

/** Asks until nothing is wrong. @returns the last answer @throws `ta_unreachable` when there was none in time */
export async function waitForTa(options: {
  home: string;
  url?: string | undefined;
  /** Machine ms. */
  timeoutMs: number;
}): Promise<TaStatusView> {
  const deadline = machineMs() + options.timeoutMs;
  for (;;) {
    try {
      const status = await readTaStatus(options);
      if (status.state === 'ok' || machineMs() > deadline) return status;
    } catch (error) {
      if (machineMs() > deadline) throw error;
    }
    await sleep(200);
  }
}

async function ask(url: string): Promise<unknown> {
  const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

const pausedBy = ({ actor, reason }: z.infer<typeof controlSchema>): string =>
  `paused by ${actor ?? 'unknown'}: ${reason ?? 'no reason given'}`;

type SinkAnswer = z.infer<typeof sinkSchema> | { absent: string };

async function askSink(home: string): Promise<SinkAnswer> {
  const url = findService(home, 'sink')?.url;
  if (url === undefined) return { absent: 'no sink is running in this home' };
  try {
    return sinkSchema.parse(await ask(url));
  } catch (error) {
    return { absent: describeError(error) };
  }
}

function engineFindings(engine: z.infer<typeof engineSchema>, tasks: readonly TaskView[]): Finding[] {
  const findings: Finding[] = [];
  const add = (code: string, what: string, next: string) => void findings.push({ code, what, next });
  if (engine.control?.paused) add('paused', `computation is ${pausedBy(engine.control)}`, 'torghut ta resume');
  else if (!engine.ready) {
    const isWaiting = engine.phase === 'waiting_for_input_topics';
    add(
      'not_ready',
      isWaiting ? 'it waits for the topics of trades, quotes and bars' : 'a partition has no running task yet',
      isWaiting
        ? 'torghut log topics: has ws begun?'
        : 'read the log of ta: a task that is opened again and again names why',
    );
  }
  for (const { partition, lag, watermark_age_ms: age } of engine.session === 'regular' ? tasks : []) {
    if (age !== null && age <= staleAfterMs) continue;
    const what =
      age === null
        ? `partition ${partition} has had no event`
        : `partition ${partition} is ${Math.round(age / 1_000)} s behind the market`;
    if (lag === 0)
      add(
        'input_silent',
        `${what}, and there is nothing to read`,
        'ask the other side: torghut log tail torghut.trades.v1, status of ws',
      );
    else
      add(
        'watermark_old',
        `${what}, with ${lag} records to read`,
        'one input without records or progress holds the others: torghut log topics',
      );
  }
  const limit = engine.records * wasteLimit;
  if (engine.rejected > limit) {
    add(
      'records_rejected',
      `${engine.rejected} of ${engine.records} records could not be used`,
      'torghut log tail torghut.ta.late.v1 names each with its reason',
    );
  }
  if (engine.late > limit) {
    add(
      'events_late',
      `${engine.late} of ${engine.records} events came too late`,
      'torghut log tail torghut.ta.late.v1 names each; the bars stay without them',
    );
  }
  return findings;
}

function sinkFindings(sink: SinkAnswer): Finding[] {
  if ('absent' in sink) {
    return [
      {
        code: 'sink_absent',
        what: `the sink does not answer: ${sink.absent}`,
        next: 'rows stay in the log; start torghut ta --only sink',
      },
    ];
  }
  if (sink.control?.paused) {
    return [{ code: 'sink_paused', what: `storing is ${pausedBy(sink.control)}`, next: 'torghut ta resume' }];
  }
  if (sink.circuit === 'closed' && sink.error === null) return [];
  return [
    {
      code: 'sink_stopped',
      what: `the sink cannot store rows: ${sink.error ?? `its circuit is ${sink.circuit}`}`,
      next: 'rows stay in the log and are stored when ClickHouse takes them again; look at ClickHouse and its disk',
    },
  ];
}

function unreachable(why: string, cause?: unknown): TorghutError {
  return new TorghutError({
    exitCode: exitCode.cannotDetermine,
    code: 'ta_unreachable',
    what: 'ta does not answer',
    why,
    next: 'start `torghut up` or `torghut ta`, or name its address with --url',
    cause,
  });
}
