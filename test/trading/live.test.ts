/**
 * The switch matrix (spec trading 3.4): each switch alone and every pair of them, on paper and on a live account, through the
 * cycle to the desk; and the signed confirmation of a live account.
 */
import { Decimal } from 'decimal.js';
import { describe, expect, it } from 'vitest';
import { type LiveFacts, liveBlockedReasons, liveReasons } from '../../src/lib/risk/live-gate.ts';
import {
  judgeConfirmation,
  newKeyPair,
  readPrivateKey,
  readPublicKey,
  signStatement,
} from '../../src/lib/trading/live-confirmation.ts';
import type { TradingSettings } from '../../src/lib/trading/settings.ts';
import { FakeWorld, openMs } from './fakes.ts';

const open: LiveFacts = {
  mode: 'live',
  tradingEnabled: true,
  simpleSubmitEnabled: true,
  liveSubmitEnabled: true,
  killSwitch: false,
  paused: false,
  emergencyStop: null,
  continuityAlert: false,
  isUniverseBlocked: false,
  session: 'open',
  isBrokerReachable: true,
  freshness: 'current',
  armedUntilMs: openMs + 3_600_000,
  sessionCloseMs: openMs + 4 * 3_600_000,
  nowMs: openMs,
  confirmation: 'valid',
  isPinnedAccount: true,
};

/** What closes the gate, and with which reason. Facts of one source exclude each other: they share a key. */
const closers: readonly [key: string, change: Partial<LiveFacts>, reason: string][] = [
  ['enabled', { tradingEnabled: false }, 'trading_disabled'],
  ['kill', { killSwitch: true }, 'kill_switch_enabled'],
  ['pause', { paused: true }, 'trading_paused'],
  ['simple', { simpleSubmitEnabled: false }, 'submit_disabled'],
  ['live', { liveSubmitEnabled: false }, 'live_submit_disabled'],
  ['stop', { emergencyStop: 'daily_loss_stop:0.0110' }, 'emergency_stop_active'],
  ['alert', { continuityAlert: true }, 'signal_continuity_alert_active'],
  ['universe', { isUniverseBlocked: true }, 'universe_fail_safe_blocked'],
  ['session', { session: 'closed' }, 'market_closed'],
  ['session', { session: 'unknown' }, 'market_closed'],
  ['broker', { isBrokerReachable: false }, 'broker_unavailable'],
  ['signal', { freshness: 'stale' }, 'accepted_ta_signal_stale'],
  ['signal', { freshness: 'missing' }, 'accepted_ta_signal_missing'],
  ['signal', { freshness: 'unavailable' }, 'accepted_ta_signal_unavailable'],
  ['arm', { armedUntilMs: undefined }, 'live_not_armed'],
  ['arm', { armedUntilMs: openMs }, 'live_arming_expired'],
  ['arm', { armedUntilMs: openMs + 5 * 3_600_000 }, 'live_arming_too_long'],
  ['confirm', { confirmation: 'missing' }, 'live_confirmation_missing'],
  ['confirm', { confirmation: 'invalid' }, 'live_confirmation_invalid'],
  ['confirm', { confirmation: 'expired' }, 'live_confirmation_expired'],
  ['account', { isPinnedAccount: false }, 'live_account_mismatch'],
  ['account', { isPinnedAccount: undefined }, 'live_account_mismatch'],
];

describe('the live gate', () => {
  it('is open when every single fact holds, and says nothing on paper', () => {
    expect(liveBlockedReasons(open)).toEqual([]);
    for (const [, change] of closers) expect(liveBlockedReasons({ ...open, ...change, mode: 'paper' })).toEqual([]);
  });

  it.each(closers)('%s %o alone closes it: %s', (_key, change, reason) => {
    expect(liveBlockedReasons({ ...open, ...change })).toEqual([reason]);
  });

  it('names both of every pair, in the order of the runbook', () => {
    let pairs = 0;
    for (const [keyA, a, reasonA] of closers) {
      for (const [keyB, b, reasonB] of closers) {
        if (keyA === keyB) continue;
        const expected = liveReasons.filter((reason) => reason === reasonA || reason === reasonB);
        expect(liveBlockedReasons({ ...open, ...a, ...b })).toEqual(expected);
        pairs += 1;
      }
    }
    expect(pairs).toBeGreaterThan(400);
  });

  it('has a closer in this test for every reason', () => {
    expect(new Set(closers.map(([, , reason]) => reason))).toEqual(new Set(liveReasons));
  });
});

/** A world in which everything is open, as a function that closes one thing. */
interface Switch {
  name: string;
  turn?(world: FakeWorld): void;
  settings?: Partial<TradingSettings>;
  /** The reason on the decision; undefined when no decision is made at all. */
  reason: string | undefined;
  /** Does it hold a paper account too? */
  onPaper: boolean;
}

const liveSettings = {
  simpleSubmitEnabled: true,
  liveSubmitEnabled: true,
  accountId: 'account-1',
  confirmationKey: 'k',
};

const switches: readonly Switch[] = [
  { name: 'TRADING_ENABLED', settings: { isEnabled: false }, reason: undefined, onPaper: true },
  { name: 'kill switch of the environment', settings: { killSwitch: true }, reason: 'kill_switch_enabled', onPaper: true },
  { name: 'kill switch of the ledger', turn: (w) => void Object.assign(w.rows.controls, { killSwitch: true }), reason: 'kill_switch_enabled', onPaper: true },
  { name: 'pause', turn: (w) => void Object.assign(w.rows.controls, { paused: true }), reason: undefined, onPaper: true },
  { name: 'emergency stop', turn: (w) => void Object.assign(w.rows.controls, { emergencyStopReason: 'drawdown_stop:0.0600' }), reason: 'emergency_stop_active', onPaper: true },
  { name: 'universe', turn: (w) => void Object.assign(w.universe, { symbols: [], isBlocked: true, status: 'degraded' }), reason: 'universe_fail_safe_blocked', onPaper: true },
  { name: 'TRADING_SIMPLE_SUBMIT_ENABLED', settings: { live: { ...liveSettings, simpleSubmitEnabled: false } }, reason: 'submit_disabled', onPaper: false },
  { name: 'arming of the ledger', turn: (w) => void delete w.rows.controls.liveArmedUntilMs, reason: 'live_not_armed', onPaper: false },
  { name: 'confirmation', turn: (w) => void Object.assign(w, { confirmation: 'missing' }), reason: 'live_confirmation_missing', onPaper: false },
  { name: 'account', turn: (w) => void Object.assign(w, { accountIds: ['another'] }), reason: 'live_account_mismatch', onPaper: false },
]; // biome-ignore format: one row per switch

/** One signal through the whole cycle, with these switches turned. */
async function signalThrough(mode: 'paper' | 'live', turned: readonly Switch[]) {
  const world = new FakeWorld();
  world.closeMs = openMs + 6 * 3_600_000;
  world.rows.controls.liveArmedUntilMs = openMs + 3_600_000;
  world.confirmation = 'valid';
  world.lastReconcileAtMs = openMs;
  for (const one of turned) one.turn?.(world);
  world.signal('IBM', openMs - 1_000, 'buy');
  const changes = Object.assign({}, ...turned.map((one) => one.settings ?? {})) as Partial<TradingSettings>;
  const cap = { maxNotionalPerTrade: new Decimal(1_000) };
  const { run } = await world.start({ mode, live: liveSettings, ...cap, ...changes });
  await run();
  const [decision] = world.rows.decisions;
  return { sent: world.submitted.length, status: decision?.status, reasons: decision?.reasons ?? [] };
}

describe.each(['paper', 'live'] as const)('a signal on a %s account', (mode) => {
  const holding = switches.filter((one) => mode === 'live' || one.onPaper);

  it('leads to one order when nothing is turned', async () => {
    expect(await signalThrough(mode, [])).toEqual({ sent: 1, status: 'submitted', reasons: [] });
  });

  it.each(holding)('sends nothing with $name alone', async (one) => {
    const { sent, status, reasons } = await signalThrough(mode, [one]);
    expect(sent).toBe(0);
    expect(status).toBe(one.reason === undefined ? undefined : 'blocked');
    if (one.reason !== undefined) expect(reasons).toContain(one.reason);
    if (one.reason !== undefined && mode === 'live')
      expect(reasons.some((reason) => reason === 'capital_stage_shadow' || !one.onPaper)).toBe(true);
  });

  it('sends nothing with any two of them, and names both', async () => {
    for (const [at, first] of holding.entries()) {
      for (const second of holding.slice(at + 1)) {
        const { sent, reasons } = await signalThrough(mode, [first, second]);
        expect(sent, `${first.name} and ${second.name}`).toBe(0);
        if (first.reason === undefined || second.reason === undefined) continue;
        expect(reasons, `${first.name} and ${second.name}`).toEqual(
          expect.arrayContaining([first.reason, second.reason]),
        );
      }
    }
  });
});

it('the switches of a live account hold no paper account', async () => {
  for (const one of switches.filter(({ onPaper }) => !onPaper)) {
    expect((await signalThrough('paper', [one])).sent, one.name).toBe(1);
  }
});

describe('the confirmation of a second person', () => {
  const { privatePem, publicText } = newKeyPair();
  const untilMs = openMs + 3_600_000;
  const statement = {
    account_label: 'live',
    account_id: 'account-1',
    armed_until: new Date(untilMs).toISOString(),
    armed_by: 'anna',
    confirmed_by: 'bert',
    reason: 'first session',
  };
  const facts = {
    accountLabel: 'live',
    accountIds: ['id-1', 'account-1'],
    armedUntilMs: untilMs,
    nowMs: openMs,
    publicKey: readPublicKey(publicText),
  };
  const signed = (change: Partial<typeof statement> = {}, pem = privatePem) =>
    JSON.stringify(signStatement({ ...statement, ...change }, readPrivateKey(pem)));

  it('holds for its account, its arming and its time', () => {
    expect(judgeConfirmation(signed(), facts)).toBe('valid');
    expect(judgeConfirmation(undefined, facts)).toBe('missing');
    expect(judgeConfirmation(signed(), { ...facts, nowMs: untilMs })).toBe('expired');
    expect(judgeConfirmation(signed(), { ...facts, nowMs: untilMs - 1 })).toBe('valid');
  });

  it.each([
    ['another account label', signed({ account_label: 'other' }), {}],
    ['another account', signed({ account_id: 'account-2' }), {}],
    ['another end than the arming', signed({ armed_until: new Date(untilMs + 1_000).toISOString() }), {}],
    ['an arming that is gone', signed(), { armedUntilMs: undefined }],
    ['the same person twice', signed({ confirmed_by: 'anna' }), {}],
    ['the key of somebody else', signed({}, newKeyPair().privatePem), {}],
    ['no public key at all', signed(), { publicKey: undefined }],
    ['a changed statement', signed().replace('bert', 'carl'), {}],
    ['a changed signature', signed().replace(/"signature":"../, '"signature":"AA'), {}],
    ['no JSON', 'yes, do it', {}],
    ['more than the statement', JSON.stringify({ ...(JSON.parse(signed()) as object), more: 1 }), {}],
  ])('is worth nothing with %s', (_what, text, change) => {
    expect(judgeConfirmation(text, { ...facts, ...change })).toBe('invalid');
  });

  it('takes the public key as PEM and as one line, and names a wrong one without showing it', () => {
    const pem = `-----BEGIN PUBLIC KEY-----\n${publicText}\n-----END PUBLIC KEY-----`;
    expect(judgeConfirmation(signed(), { ...facts, publicKey: readPublicKey(pem) })).toBe('valid');
    expect(() => readPublicKey('c2VjcmV0')).toThrow(/TRADING_LIVE_CONFIRMATION_KEY is no ed25519 public key/);
    expect(() => readPrivateKey('not a key')).toThrow(/no ed25519 private key/);
  });
});
