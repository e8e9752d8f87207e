import { describe, expect, it } from 'vitest';
import type { TradingControls } from '../../src/lib/ledger/contract.ts';
import { planIdOf } from '../../src/lib/runbook/plan.ts';
import {
  demandResumable,
  planPause,
  planResume,
  planStop,
  type ResumeFacts,
  resumeCheckIds,
  resumeChecks,
} from '../../src/lib/runbook/trade-controls.ts';
import { type PassReport, reconcileUntilQuiet } from '../../src/lib/runbook/trade-reconcile.ts';
import { type LoopStatus, watchLoop } from '../../src/lib/runbook/trade-verify.ts';

const off: TradingControls = { accountLabel: 'paper', killSwitch: false, paused: false };
const nowMs = Date.UTC(2013, 9, 8, 14);
const well: ResumeFacts = {
  nowMs,
  session: 'open',
  ends: [{ windowSize: 'PT1S', partition: 0, endOffset: 10n, newestEventMs: nowMs - 2_000 }],
  cursor: [{ windowSize: 'PT1S', partition: 0, nextOffset: 10n }],
  reconciledAtMs: nowMs - 5_000,
  reconcileEveryMs: 15_000,
  unresolvedClaims: 0,
  driftSymbols: [],
  isFlattening: false,
  standingStops: [],
  controls: { ...off, paused: true },
  stop: undefined,
  actor: 'anna',
};
const failing = (change: Partial<ResumeFacts>) =>
  resumeChecks({ ...well, ...change })
    .filter((check) => check.verdict !== 'ok')
    .map((check) => check.id);

describe('the plan of a change', () => {
  it('has an id of its facts, whatever their order, and another for other facts', () => {
    expect(planIdOf({ a: 1, b: ['x'] })).toBe(planIdOf({ b: ['x'], a: 1 }));
    expect(planIdOf({ a: 1, b: ['x'] })).not.toBe(planIdOf({ a: 1, b: ['y'] }));
    expect(planPause(off).id).not.toBe(planStop(off).id);
    expect(planResume({ ...off, killSwitch: true }, undefined).id).not.toBe(
      planResume({ ...off, paused: true }, undefined).id,
    );
  });

  it('has no step when it is so already, and asks more than --yes to release a stop', () => {
    expect(planPause({ ...off, paused: true }).steps).toEqual([]);
    expect(planStop({ ...off, killSwitch: true }).steps).toEqual([]);
    expect(planResume(off, undefined).steps).toEqual([]);
    expect(planResume({ ...off, paused: true }, undefined).needsConfirm).toBe(false);
    expect(planResume({ ...off, emergencyStopReason: 'daily_loss_stop:0.0200' }, undefined)).toMatchObject({
      needsConfirm: true,
      change: { emergencyStopReason: null },
    });
  });
});

describe('the conditions of a resume', () => {
  it('hold when all is well, under the names that the page lists', () => {
    expect(failing({})).toEqual([]);
    expect(resumeChecks(well).map((check) => check.id)).toEqual([...resumeCheckIds]);
  });

  it.each<[string, Partial<ResumeFacts>]>([
    ['signal_lag', { ends: [{ windowSize: 'PT1S', partition: 0, endOffset: 10n, newestEventMs: nowMs - 300_000 }] }],
    ['cursor_ahead', { cursor: [{ windowSize: 'PT1S', partition: 0, nextOffset: 11n }] }],
    ['reconcile_lag', { reconciledAtMs: nowMs - 45_000 }],
    ['reconcile_lag', { reconciledAtMs: undefined }],
    ['unresolved_claims', { unresolvedClaims: 1 }],
    ['position_drift', { driftSymbols: ['IBM'] }],
    ['flatten_over', { isFlattening: true }],
    ['stop_cause', { standingStops: ['daily_loss_stop:0.0110'] }],
    ['different_actor', { controls: { ...off, killSwitch: true }, stop: { actor: 'anna', reason: null, atMs: 0 } }],
  ])('%s alone refuses %o', (id, change) => {
    expect(failing(change)).toEqual([id]);
    expect(() => demandResumable(resumeChecks({ ...well, ...change }))).toThrow(id);
  });

  it('cannot be judged without the signal store, and judge no lag outside the session', () => {
    expect(failing({ ends: undefined })).toEqual(['signal_lag', 'cursor_ahead']);
    expect(failing({ ends: [], cursor: [] })).toEqual(['signal_lag']);
    expect(failing({ ends: [], cursor: [], session: 'closed' })).toEqual([]);
  });

  it('let another person release what the first one stopped', () => {
    expect(failing({ controls: { ...off, killSwitch: true }, stop: { actor: 'bert', reason: null, atMs: 0 } })).toEqual(
      [],
    );
  });
});

describe('the loop that is watched', () => {
  const status: LoopStatus = {
    cycles: 1,
    paused: true,
    kill_switch: false,
    emergency_stop: null,
    decisions_total: 5,
    decisions: { submitted: 2 },
    orders_open: 0,
    unknown_claims: 0,
    reconcile_changes_last_pass: 0,
  };
  const verdicts = async (statuses: (Partial<LoopStatus> | undefined)[]) => {
    let asked = 0;
    const read = async () => {
      const change = statuses[Math.min(asked++, statuses.length - 1)];
      return change && { ...status, ...change };
    };
    return (await watchLoop('pause', read, { timeoutMs: 600 })).map((check) => check.verdict);
  };

  it('verifies over two cycles without a decision, also across a restart of the loop', async () => {
    expect(await verdicts([{ cycles: 1 }, { cycles: 2 }, { cycles: 3 }])).toEqual(['ok', 'ok']);
    expect(await verdicts([{ cycles: 9 }, undefined, { cycles: 1 }, { cycles: 3 }])).toEqual(['ok', 'ok']);
  });

  it('verifies nothing while decisions go on, the switch is not seen, or nobody answers', async () => {
    const busy = [1, 2, 3, 4, 5, 6, 7, 8].map((cycles) => ({ cycles, decisions_total: cycles }));
    expect(await verdicts(busy)).toEqual(['ok', 'problem']);
    expect(await verdicts([{ paused: false }])).toEqual(['problem', 'problem']);
    expect(await verdicts([undefined])).toEqual(['unknown', 'unknown']);
  });
});

describe('passes of reconcile', () => {
  const pass = (changes: number, more: Partial<PassReport> = {}): PassReport => ({
    changes, ordersSeen: 1, fillsAdded: 0, statesChanged: 0, claimsResolved: 0, adopted: 0, unknownClaims: 0,
    openOrders: 0, findings: [], ...more,
  }); // biome-ignore format: one object
  const made = (...reports: PassReport[]) => {
    let next = 0;
    return reconcileUntilQuiet(async () => reports[Math.min(next++, reports.length - 1)] as PassReport, 700);
  };

  it('end with one that changes nothing, never with the first', async () => {
    expect(await made(pass(0))).toMatchObject({ passes: [{}, {}], isAgreed: true });
    expect((await made(pass(3), pass(1), pass(0))).passes).toHaveLength(3);
  });

  it('do not agree while something changes, is unknown, or pages', async () => {
    expect((await made(pass(1))).isAgreed).toBe(false);
    expect((await made(pass(0, { unknownClaims: 1 }))).isAgreed).toBe(false);
    const drift = { kind: 'position_drift', subject: 'IBM', isPaging: true };
    expect((await made(pass(0, { findings: [drift] }))).isAgreed).toBe(false);
  });
});
