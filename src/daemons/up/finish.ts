/**
 * The end of a run: positions are waited for in order, so that the summary speaks of everything that was sent. A phase that
 * takes over 30 machine seconds ends the run as not ok, with its name.
 */
import type { ClickHouseClient } from '@clickhouse/client';
import { z } from 'zod';
import type { EventLog, TopicDescription } from '../../lib/log/port.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { findService } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import type { Watch } from './watch.ts';

const phaseLimitMs = 30_000;
/** Market time after the last event in which minute bars, updates and lateness pass. */
export const runOutNs = 110_000_000_000n;

export interface FinishOptions {
  home: string;
  watch: Watch;
  log: EventLog;
  /** A ClickHouse client that is connected anew for each call. */
  withStore<T>(use: (client: ClickHouseClient) => Promise<T>): Promise<T>;
  topics: { inputs: string[]; outputs: string[] };
  signal: AbortSignal;
  onPhase(name: string): void;
}

/** Runs the phases. @returns the problems; empty when every position was reached */
export async function finishRun(options: FinishOptions): Promise<string[]> {
  const phases: [string, () => Promise<() => Promise<string | undefined>>][] = [
    ['ws', async () => async () => wsBehind(options.watch)],
    ['ta', async () => taPhase(options, await options.log.describeTopics(options.topics.inputs))],
    ['sink', async () => sinkPhase(options, await options.log.describeTopics(options.topics.outputs))],
    ['cursor', async () => () => cursorBehind(options)],
    ['claims', async () => async () => claimsOpen(options.watch)],
    ['drain', async () => () => drainOpen(options)],
  ];
  for (const [name, prepare] of phases) {
    options.onPhase(name);
    const problem = await runPhase(name, prepare, options.signal);
    if (problem) return [problem];
  }
  return [];
}

/** `prepare` notes where to get to; the check it returns says what is missing, or undefined when it is reached. */
async function runPhase(
  name: string,
  prepare: () => Promise<() => Promise<string | undefined>>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const started = machineMs();
  let missing = 'nothing was answered';
  let check: (() => Promise<string | undefined>) | undefined;
  while (!signal.aborted && machineMs() - started < phaseLimitMs) {
    try {
      check ??= await prepare();
      const found = await check();
      if (found === undefined) return undefined;
      missing = found;
    } catch (error) {
      missing = (error as Error).message;
    }
    await sleep(100, signal);
  }
  return signal.aborted ? `interrupted in phase ${name}` : `phase ${name} not reached in 30 s: ${missing}`;
}

function wsBehind(watch: Watch): string | undefined {
  const { simulator, ws } = watch.snapshot;
  if (!simulator || !ws || !watch.isUp('ws')) return 'ws does not answer';
  for (const channel of ['trades', 'quotes']) {
    const sent = simulator.input[channel] ?? 0;
    const done = ws.acknowledged[channel] ?? 0;
    if (done !== sent) return `${channel}: ${done} of ${sent} acknowledged`;
  }
  if (ws.gaps.open > 0) return `${ws.gaps.open} gaps are open`;
  if (ws.queued > 0 || ws.spooled > 0) return `${ws.queued} queued, ${ws.spooled} spooled`;
  return undefined;
}

/** The task watermark must pass the last event by this much: every bar, update and late trade is then decided. */
const settledNs = 100_000_000_000n;

function taPhase(options: FinishOptions, ends: TopicDescription[]): () => Promise<string | undefined> {
  return async () => {
    const { watch } = options;
    const { ta, simulator } = watch.snapshot;
    if (!ta || !watch.isUp('ta')) return 'ta does not answer';
    const lastNs = simulator?.last_event_ts ? parseTimestampNs(simulator.last_event_ts) : undefined;
    for (const topic of ends) {
      for (const { partition, latest } of topic.partitions) {
        const task = ta.tasks.find((candidate) => candidate.partition === partition);
        if (!task) return `partition ${partition} has no task`;
        const at = BigInt(task.positions[topic.name] ?? 0);
        if (at < latest) return `${topic.name} ${partition}: at ${at} of ${latest}`;
        const watermark = task.watermark ? parseTimestampNs(task.watermark) : undefined;
        if (lastNs !== undefined && (watermark === undefined || watermark < lastNs + settledNs)) {
          return `partition ${partition}: watermark ${task.watermark}`;
        }
      }
    }
    return undefined;
  };
}

function sinkPhase(options: FinishOptions, ends: TopicDescription[]): () => Promise<string | undefined> {
  return async () => {
    const { sink } = options.watch.snapshot;
    if (!sink || !options.watch.isUp('sink')) return 'sink does not answer';
    for (const topic of ends) {
      for (const { partition, latest } of topic.partitions) {
        const at = BigInt(sink.positions[topic.name]?.[String(partition)] ?? 0);
        if (at < latest) return `${topic.name} ${partition}: at ${at} of ${latest}`;
      }
    }
    return undefined;
  };
}

const logEnds = z.array(
  z.object({ window_size: z.string(), src_partition: z.coerce.number(), end: z.coerce.string() }),
);

async function cursorBehind(options: FinishOptions): Promise<string | undefined> {
  const { trade } = options.watch.snapshot;
  if (!trade || !options.watch.isUp('trade')) return 'trade does not answer';
  const rows = await options.withStore(async (client) => {
    const result = await client.query({
      query:
        'SELECT window_size, src_partition, toString(max(src_offset)) AS end FROM ta_signal_log GROUP BY window_size, src_partition',
      format: 'JSONEachRow',
    });
    return logEnds.parse(await result.json());
  });
  for (const row of rows) {
    const key = `${row.window_size}:${row.src_partition}`;
    const at = trade.cursor[key];
    // A window size that no strategy reads has no cursor at all.
    const isRead = Object.keys(trade.cursor).some((name) => name.startsWith(`${row.window_size}:`));
    // The cursor is the next offset to read, the end the last one stored.
    if (isRead && (at === undefined || BigInt(at) <= BigInt(row.end))) return `cursor ${key}: at ${at} of ${row.end}`;
  }
  return undefined;
}

function claimsOpen(watch: Watch): string | undefined {
  const { trade } = watch.snapshot;
  if (!trade || !watch.isUp('trade')) return 'trade does not answer';
  return trade.unknown_claims > 0 ? `${trade.unknown_claims} claims are unknown` : undefined;
}

async function drainOpen(options: FinishOptions): Promise<string | undefined> {
  const { watch, home, signal } = options;
  const { trade } = watch.snapshot;
  if (trade?.drained && watch.isUp('trade')) return undefined;
  const endpoint = findService(home, 'trade');
  // Asked again whenever a restarted trade has forgotten it.
  if (endpoint && !(trade?.draining && watch.isUp('trade'))) {
    await fetch(`${endpoint.url}/drain`, {
      method: 'POST',
      headers: { authorization: `Bearer ${endpoint.extra?.token ?? ''}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(2_000)]),
    });
  }
  return 'trade is draining';
}
