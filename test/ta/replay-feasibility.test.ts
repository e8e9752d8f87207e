/** Each refusal of a replay by its name, and what else the verdict says (spec ta R7). */
import { describe, expect, it } from 'vitest';
import { judgeReplay, type ReplayBlock, type ReplayFacts, replayBlocks } from '../../src/lib/runbook/ta-replay.ts';

const nowMs = Date.UTC(2026, 10, 20, 22);
const fromMs = Date.UTC(2026, 10, 20, 14, 30);
const fine: ReplayFacts = {
  method: 'm2',
  nowMs,
  fromMs,
  toMs: fromMs + 3_600_000,
  settledMs: nowMs - 1_200_000,
  hasInputs: true,
  leadMs: 3_900_000,
  source: { cutMs: null, rowsBefore: 0 },
  ttlDays: 35,
  isKeptApart: false,
  idUsedBy: [],
  disk: { freeBytes: 100e9, level: 'ok', estimateBytes: 1e6 },
  session: 'post',
  duringSession: false,
  trading: 'paused',
  running: [],
  repairRecords: 10,
  repairLimit: 1_000,
  hasMarketDataKeys: true,
  coverage: { days: 1, requiredDays: 1, rows: 3_600, gaps: 0 },
};
const blocks = (change: Partial<ReplayFacts>): ReplayBlock[] =>
  judgeReplay({ ...fine, ...change }).required_actions.map(({ block }) => block);

describe('a replay is refused', () => {
  const cases: [ReplayBlock, Partial<ReplayFacts>][] = [
    ['source_retention', { source: { cutMs: fromMs - 60_000, rowsBefore: 0 } }],
    ['source_retention', { source: { cutMs: null, rowsBefore: 1 } }],
    ['window_open', { toMs: nowMs }],
    ['window_open', { settledMs: null }],
    ['clickhouse_ttl', { fromMs: nowMs - 36 * 86_400_000 }],
    ['replay_id_used', { idUsedBy: ['offsets of the group torghut-ta-replay-x'] }],
    ['disk', { disk: { freeBytes: 1e9, level: 'critical', estimateBytes: 5e9 } }],
    ['disk', { disk: { freeBytes: null, level: 'unknown', estimateBytes: 0 } }],
    ['session_open', { method: 'm3', session: 'regular', toMs: null }],
    ['session_open', { method: 'm1t', session: 'regular', toMs: null }],
    ['trading_not_paused', { trading: 'running' }],
    ['trading_not_paused', { trading: 'unknown' }],
    ['ta_running', { method: 'm3', toMs: null, running: ['ta of this home'] }],
    ['inputs_missing', { hasInputs: false }],
    ['repair_too_large', { repairRecords: 1_001 }],
    ['market_data_keys', { method: 'm5', hasMarketDataKeys: false }],
  ];

  it.each(cases)('%s: %j', (name, change) => {
    const verdict = judgeReplay({ ...fine, ...change });
    expect(verdict.required_actions.map(({ block }) => block)).toEqual([name]);
    expect(verdict).toMatchObject({ admission: false, status: 'blocked' });
    for (const { why, next } of verdict.required_actions) expect(why.length * next.length).toBeGreaterThan(100);
  });

  it('for every reason that there is', () => {
    expect(new Set(cases.map(([name]) => name))).toEqual(new Set(replayBlocks));
  });

  it('for all reasons at once, not only the first', () => {
    expect(blocks({ trading: 'running', toMs: nowMs, idUsedBy: ['a record'] })).toEqual([
      'window_open',
      'replay_id_used',
      'trading_not_paused',
    ]);
  });
});

describe('a replay is admitted', () => {
  it('when nothing stands against it', () => {
    expect(judgeReplay(fine)).toEqual({
      exact_replay_capture_ready: true,
      non_destructive_replay_admission: true,
      admission: true,
      status: 'admitted',
      required_actions: [],
    });
  });

  it('beside the live run in the session, and instead of it only when told so', () => {
    expect(blocks({ session: 'regular' })).toEqual([]);
    expect(blocks({ method: 'm3', toMs: null, session: 'regular', duringSession: true })).toEqual([]);
    const beside = judgeReplay({ ...fine, method: 'm3', session: 'regular' });
    expect(beside).toMatchObject({ admission: false, non_destructive_replay_admission: true });
  });

  it('from the provider although the log no longer holds the input, and apart although the store would not keep the rows', () => {
    const old = {
      fromMs: nowMs - 40 * 86_400_000,
      toMs: nowMs - 39 * 86_400_000,
      source: { cutMs: nowMs, rowsBefore: 0 },
    };
    expect(blocks({ ...old, method: 'm5', isKeptApart: true })).toEqual([]);
    expect(blocks({ ...old, method: 'm5' })).toEqual(['clickhouse_ttl']);
    expect(blocks({ ...old, isKeptApart: true })).toEqual(['source_retention']);
  });

  it('where trading has never run', () => {
    expect(blocks({ trading: 'none' })).toEqual([]);
  });

  it('but an export is not ready with a hole or too few sessions', () => {
    const ready = (coverage: Partial<ReplayFacts['coverage']>) =>
      judgeReplay({ ...fine, coverage: { ...fine.coverage, ...coverage } }).exact_replay_capture_ready;
    expect([ready({ gaps: 1 }), ready({ rows: 0 }), ready({ requiredDays: 25 })]).toEqual([false, false, false]);
  });
});
