/**
 * May an order leave for a live account? (spec trading 3.4). Pure: facts in, every reason against it out, in the order of the
 * specification. The three sources that must agree are the environment (its three flags), the control row of the ledger
 * (armed until, with reason and actor) and the confirmation that a second person signed with a key of their own.
 * Guarantee: an empty answer needs every single one of the facts; what is not known counts as against it.
 */

export type SignalFreshness = 'current' | 'stale' | 'missing' | 'unavailable';
export type ConfirmationState = 'valid' | 'missing' | 'invalid' | 'expired';

/** Every reason, in the order in which they are told; the runbook page go-live lists them. */
export const liveReasons = [
  'trading_disabled',
  'kill_switch_enabled',
  'trading_paused',
  'submit_disabled',
  'live_submit_disabled',
  'emergency_stop_active',
  'signal_continuity_alert_active',
  'universe_fail_safe_blocked',
  'market_closed',
  'broker_unavailable',
  'accepted_ta_signal_stale',
  'accepted_ta_signal_missing',
  'accepted_ta_signal_unavailable',
  'live_not_armed',
  'live_arming_expired',
  'live_arming_too_long',
  'live_confirmation_missing',
  'live_confirmation_invalid',
  'live_confirmation_expired',
  'live_account_mismatch',
] as const;
export type LiveReason = (typeof liveReasons)[number];

export interface LiveFacts {
  mode: 'paper' | 'live';
  /** First source: the environment. */
  tradingEnabled: boolean;
  simpleSubmitEnabled: boolean;
  liveSubmitEnabled: boolean;
  killSwitch: boolean;
  paused: boolean;
  emergencyStop: string | null;
  continuityAlert: boolean;
  isUniverseBlocked: boolean;
  session: 'open' | 'closed' | 'unknown';
  isBrokerReachable: boolean;
  freshness: SignalFreshness;
  /** Second source: the control row. Market ms; undefined when it was never armed. */
  armedUntilMs: number | undefined;
  /** Market ms of the close of the running session: an arming never outlives it. */
  sessionCloseMs: number | undefined;
  nowMs: number;
  /** Third source: what a second person signed. */
  confirmation: ConfirmationState;
  /** The account that answers is the pinned one; undefined while it has not answered. */
  isPinnedAccount: boolean | undefined;
}

/** Does the control row arm live trading now, and not beyond the running session? */
function armingReason({ armedUntilMs, sessionCloseMs, nowMs }: LiveFacts): LiveReason | undefined {
  if (armedUntilMs === undefined) return 'live_not_armed';
  if (nowMs >= armedUntilMs) return 'live_arming_expired';
  return sessionCloseMs !== undefined && armedUntilMs > sessionCloseMs ? 'live_arming_too_long' : undefined;
}

/** Why no order may leave for the live account; empty when one may, and always empty on paper. */
export function liveBlockedReasons(facts: LiveFacts): readonly LiveReason[] {
  if (facts.mode !== 'live') return [];
  const reasons: readonly (LiveReason | undefined)[] = [
    facts.tradingEnabled ? undefined : 'trading_disabled',
    facts.killSwitch ? 'kill_switch_enabled' : undefined,
    facts.paused ? 'trading_paused' : undefined,
    facts.simpleSubmitEnabled ? undefined : 'submit_disabled',
    facts.liveSubmitEnabled ? undefined : 'live_submit_disabled',
    facts.emergencyStop === null ? undefined : 'emergency_stop_active',
    facts.continuityAlert ? 'signal_continuity_alert_active' : undefined,
    facts.isUniverseBlocked ? 'universe_fail_safe_blocked' : undefined,
    facts.session === 'open' ? undefined : 'market_closed',
    facts.isBrokerReachable ? undefined : 'broker_unavailable',
    facts.freshness === 'current' ? undefined : `accepted_ta_signal_${facts.freshness}`,
    armingReason(facts),
    facts.confirmation === 'valid' ? undefined : `live_confirmation_${facts.confirmation}`,
    facts.isPinnedAccount === true ? undefined : 'live_account_mismatch',
  ];
  return reasons.filter((reason) => reason !== undefined);
}
