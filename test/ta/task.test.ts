/** The task without its I/O: the merge, progress, restarts at any commit, records that cannot be used, the heartbeat. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heartbeatOf } from '../../src/daemons/ta/heartbeat.ts';
import { InputMerge, inputRoles } from '../../src/daemons/ta/merge.ts';
import { noteProgress } from '../../src/daemons/ta/progress.ts';
import { firstMark, TaskCore } from '../../src/daemons/ta/task-core.ts';
import type { Mark, RestoredState, TaskCounters } from '../../src/daemons/ta/task-state.ts';
import type { LogRecord, NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { settingsOf } from '../../src/lib/ta/index.ts';
import { feedRecords } from './feed.ts';
import { OPEN, randomMarket, seededRandom, withOneTradeChanged } from './fixtures.ts';

const record = (input: number, offset: number, timestampMs: number, more: Partial<LogRecord> = {}): LogRecord => ({
  topic: defaultTopics[inputRoles[input] as 'trades'], partition: 0, offset: BigInt(offset), key: 'A',
  value: Buffer.from(`${input}:${offset}`), timestampMs, headers: {}, ...more,
}); // biome-ignore format: one record

const startAt = (offset: bigint) => inputRoles.map(() => ({ offset, runningMaxMs: Number.NEGATIVE_INFINITY }));

describe('the merge of the inputs', () => {
  it('gives one order whatever is read when, and holds while an input might still come before', () => {
    const input = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.tuple(input, input, input), fc.integer(), (times, seed) => {
        // The order by definition, over everything.
        const expected = times
          .flatMap((list, i) => {
            let max = Number.NEGATIVE_INFINITY;
            return list.map((ms, offset) => {
              max = Math.max(max, ms);
              return { i, offset, max };
            });
          })
          .sort((a, b) => a.max - b.max || a.i - b.i || a.offset - b.offset)
          .map(({ i, offset }) => `${i}:${offset}`);
        const random = seededRandom(seed);
        const merge = new InputMerge(startAt(0n));
        const queues = times.map((list, i) => list.map((ms, offset) => record(i, offset, ms)));
        const given: string[] = [];
        while (queues.some((queue) => queue.length > 0)) {
          const i = Math.floor(random() * 3);
          const next = queues[i]?.shift();
          if (next) merge.push(i, next);
          for (let out = merge.next(); out; out = merge.next()) given.push(String(out.record.value));
        }
        expect(given).toEqual(expected.slice(0, given.length));
        // Something later in every input lets all of it go.
        for (let i = 0; i < 3; i++) merge.push(i, record(i, 99, 31, { key: null }));
        for (let out = merge.next(); out; out = merge.next()) if (out.record.key) given.push(String(out.record.value));
        expect(given).toEqual(expected);
        expect(merge.settledOffset(2)).toBe(100n);
      }),
    );
  });

  it('takes the minimum of the shards, once all have spoken', () => {
    const note = (state: Parameters<typeof noteProgress>[0], header: string | undefined, sec: number) =>
      noteProgress(state, header, { sec, nano: 0 });
    const one = note(undefined, '0/2', 50);
    expect(one.progress).toBeUndefined();
    const two = note(one.state, '1/2', 40);
    expect(two.progress).toEqual({ sec: 40, nano: 0 });
    expect(note(two.state, '1/2', 60).progress).toEqual({ sec: 50, nano: 0 });
    expect(note(two.state, undefined, 70).progress).toEqual({ sec: 70, nano: 0 });
    expect(note(two.state, '2/2', 80).progress).toBeUndefined();
    expect(note(two.state, 'nonsense', 80).state).toEqual(two.state);
  });
});

const settings = settingsOf('default');
const topics = { bars: 'bars', signals: 'signals', late: 'late' };

function newCore(restored: RestoredState, start: Mark = firstMark([0n, 0n, 0n])): TaskCore {
  return new TaskCore({
    partition: 0,
    runId: 'r',
    settings,
    maxFutureMs: 5_000,
    topics,
    restored,
    start,
    nowText: () => '',
  });
}

/** The three inputs of one partition as lists of log records. */
function inputsOf(seed: number, isChanged = false): LogRecord[][] {
  const inputs: LogRecord[][] = [[], [], []];
  const market = randomMarket(seed, 70, 5, ['A', 'B', 'C']);
  for (const { record: fed } of feedRecords(isChanged ? withOneTradeChanged(market) : market, seed)) {
    if (fed.partition !== undefined && fed.partition !== 0) continue;
    const i = inputRoles.findIndex((role) => defaultTopics[role] === fed.topic);
    const list = inputs[i] as LogRecord[];
    list.push({ ...fed, partition: 0, offset: BigInt(list.length), headers: fed.headers ?? {} });
  }
  return inputs;
}

const textOf = ({ topic, key, value, timestampMs }: NewRecord) => `${topic} ${key} ${timestampMs} ${value}`;

/** What a task that is left alone gives out. */
function outputsOf(inputs: readonly LogRecord[][]): string[] {
  const core = newCore({ task: undefined, symbols: new Map() });
  for (const [i, list] of inputs.entries()) for (const item of list) core.merge.push(i, item);
  core.consume(Number.MAX_SAFE_INTEGER);
  return core.outputs().map(textOf);
}

describe('a task', () => {
  it('goes on from any commit and any mix of snapshots with the same outputs, each of them once', () => {
    let lates = 0;
    for (let seed = 1; seed <= (process.env.TORGHUT_TEST_FULL ? 12 : 3); seed++) {
      const random = seededRandom(seed);
      const inputs = inputsOf(seed);
      const feed = (core: TaskCore, from: Mark) => {
        for (const [i, list] of inputs.entries()) {
          for (const item of list) if (item.offset >= (from.inputs[i]?.offset ?? 0n)) core.merge.push(i, item);
        }
      };
      const straight = newCore({ task: undefined, symbols: new Map() });
      feed(straight, firstMark([0n, 0n, 0n]));
      straight.consume(Number.MAX_SAFE_INTEGER);
      const expected = straight.outputs().map(textOf);
      expect(expected.length).toBeGreaterThan(300);
      const data = inputs.flat().filter(({ key }) => key !== null).length;
      expect(straight.counters.duplicates / data).toBeGreaterThan(0.01);
      expect(inputsOf(seed, true).flat()).toHaveLength(inputs.flat().length);
      expect(outputsOf(inputsOf(seed, true))).not.toEqual(expected);
      lates += straight.counters.revisions;

      // Commit every few records with a random part of the snapshots; now and then die with work undone.
      let stored: RestoredState = { task: undefined, symbols: new Map() };
      const durable: string[] = [];
      let counters: TaskCounters | undefined;
      for (let restarts = 0; restarts < 40; restarts++) {
        const core = newCore(stored);
        const from = stored.task?.replayFrom ?? firstMark([0n, 0n, 0n]);
        feed(core, from);
        for (let commits = 0; commits < 1 + random() * 4; commits++) {
          while (core.isReplaying && core.consume(1 + Math.floor(random() * 50)) > 0);
          expect(core.isReplaying).toBe(false);
          core.consume(1 + Math.floor(random() * 60));
          const mark = core.mark();
          const snapshots = new Set([...core.changedSymbols].filter(() => random() < 0.4));
          const symbols = new Map(stored.symbols);
          for (const symbol of snapshots) {
            const snapshot = core.engine.snapshot(symbol) as Uint8Array;
            symbols.set(symbol, { covers: mark.inputs.map(({ offset }) => offset), snapshot });
          }
          counters = core.counters;
          stored = {
            task: {
              runId: 'r',
              committed: mark,
              replayFrom: core.replayFrom(mark, snapshots),
              counters,
              giveFromMs: null,
            },
            symbols,
          };
          durable.push(...core.outputs().map(textOf));
          core.committed(mark, snapshots);
        }
        core.consume(Math.floor(random() * 80));
      }
      const last = newCore(stored);
      feed(last, stored.task?.replayFrom as Mark);
      last.consume(Number.MAX_SAFE_INTEGER);
      durable.push(...last.outputs().map(textOf));
      expect(durable).toEqual(expected);
      expect(last.counters).toEqual(straight.counters);
    }
    expect(lates).toBeGreaterThan(50);
  });

  it('gives out what it cannot use, with reason and place, and goes on', () => {
    const core = newCore({ task: undefined, symbols: new Map() });
    const ms = OPEN * 1_000;
    const future = JSON.stringify({
      event_ts: new Date(ms + 6_000).toISOString(), channel: 'trades', symbol: 'A', seq: 1,
      payload: { t: new Date(ms + 6_000).toISOString(), p: 1, s: 1 },
    }); // biome-ignore format: one record
    core.merge.push(0, record(0, 0, ms, { value: Buffer.from('{"half') }));
    core.merge.push(0, record(0, 1, ms, { value: Buffer.from(future) }));
    core.merge.push(0, record(0, 2, ms + 1_000, { value: Buffer.from(future) }));
    for (const i of [1, 2]) core.merge.push(i, record(i, 0, ms + 2_000, { key: null, value: null }));
    core.consume(100);
    const given = core.outputs().map(({ topic, value }) => ({ topic, ...(JSON.parse(String(value)) as object) }));
    expect(given.slice(0, 2)).toMatchObject([
      { topic: 'late', reason: 'schema', symbol: 'A', source_offset: '0', raw: '{"half' },
      { topic: 'late', reason: 'future_event_ts', source_offset: '1', raw: future },
    ]);
    // The same event with a record time near enough is taken; the refused ones did not move the watermark.
    expect(core.engine.symbols.has('A')).toBe(true);
    expect(core.counters).toMatchObject({ records: 3, rejected: 2 });
  });
});

describe('the heartbeat', () => {
  const at = (text: string) => Date.parse(`2026-03-10T${text}Z`);
  const base = {
    nowMs: at('15:20:40'), watermarkMs: at('15:20:38'), lastInputMs: at('15:14:10'), lastOutputMs: at('15:14:10'),
    inputCount: 120, outputCount: 100, previous: { inputCount: 100, outputCount: 90, elapsedSeconds: 10 },
    isRegularSession: true, degradedAfterMs: 300_000, latestBySymbol: new Map([['MU', at('15:14:10')]]), isSinkEnabled: false,
  }; // biome-ignore format: one heartbeat

  it('6: says degraded when the newest output is older than the limit in the regular session', () => {
    expect(heartbeatOf(base)).toMatchObject({
      source_lag_ms: 390_000,
      watermark_lag_ms: 2_000,
      status: 'degraded',
      status_reason: 'source_lag_stale_during_regular_session',
      current_record_count: 30,
      input_rate_per_second: 2,
      per_symbol_latest_event_ts: { MU: '2026-03-10T15:14:10.000Z' },
      market_session_state: 'regular',
    });
  });

  it('names the first reason that holds, and none outside the regular session', () => {
    const reasonOf = (changes: Partial<typeof base>) => heartbeatOf({ ...base, ...changes }).status_reason;
    const fresh = { lastOutputMs: at('15:20:39') };
    expect(reasonOf(fresh)).toBeNull();
    expect(heartbeatOf({ ...base, lastInputMs: null, lastOutputMs: null }).status_reason).toBe(
      'source_lag_missing_during_regular_session',
    );
    expect(reasonOf({ ...fresh, inputCount: 100, outputCount: 90 })).toBe(
      'zero_current_records_during_regular_session',
    );
    expect(reasonOf({ isRegularSession: false })).toBeNull();
    expect(heartbeatOf({ ...base, previous: undefined }).input_rate_per_second).toBeNull();
  });
});
