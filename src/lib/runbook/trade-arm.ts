/**
 * Arming live trading as a plan over facts (spec 10.6). Pure: facts in, checks and plan out.
 * Guarantees: every condition of the runbook is a check; what no program can see is attested by name, and what was seen to be
 * wrong cannot be attested away; an arming ends with the session at the latest.
 */

import { refusedError } from '../service/errors.ts';
import { bookChecks, type Check, describeProblems, planIdOf, verdictOf } from './plan.ts';

/** Names of the conditions, as the runbook page go-live lists them. */
export const goLiveCheckIds = [
  'paper_record',
  'unresolved_claims',
  'position_drift',
  'kill_switch_drill',
  'strategy_limits',
  'notional_cap',
  'shorts_off',
  'reviewer_harmless',
  'endpoint_pinned',
  'account_pinned',
  'slo_met',
  'backup_restored',
  'alerts_fired',
  'change_record',
  'two_persons',
] as const;
type CheckId = (typeof goLiveCheckIds)[number];

export interface GoLiveFacts {
  mode: 'paper' | 'live';
  /** undefined when the ledger of the paper account is another one. */
  paper: { sessions: number; doubledDecisions: number } | undefined;
  unresolvedClaims: number;
  driftSymbols: readonly string[];
  /** Market ms. */
  nowMs: number;
  drill: { atMs: number; seconds: number } | undefined;
  /** Enabled strategies with the part of equity that each may hold. */
  strategies: readonly { name: string; maxPositionPct: number | undefined }[];
  hasNotionalCap: boolean;
  allowShorts: boolean;
  isReviewerHarmless: boolean;
  brokerHost: string;
  pinnedAccount: string | undefined;
  /** The broker's id and number of the account; undefined when it did not answer. */
  accountIds: readonly string[] | undefined;
  changeRecord: string | undefined;
  attested: readonly string[];
  actor: string;
  /** Who armed before; undefined while nobody has. */
  armedBy: string | undefined;
}

const MIN_SESSIONS = 10;
const MAX_DRILL_SECONDS = 60;
const DRILL_AGE_MS = 30 * 86_400_000;
const MAX_POSITION_PCT = 0.05;

export function goLiveChecks(facts: GoLiveFacts): Check[] {
  const { paper, drill, strategies, attested } = facts;
  const check = (id: CheckId, signal: string, value: string, isOk: boolean | undefined): Check => {
    const isAttested = isOk === undefined && attested.includes(id);
    const shown = isAttested ? `${value}; attested by ${facts.actor}` : value;
    return { id, signal, value: shown, verdict: isAttested ? 'ok' : verdictOf(isOk) };
  };
  const tooLarge = strategies.filter(({ maxPositionPct: pct }) => pct === undefined || pct > MAX_POSITION_PCT);
  const drillIsFresh = drill && facts.nowMs - drill.atMs <= DRILL_AGE_MS;
  const isPinned =
    facts.accountIds && facts.pinnedAccount !== undefined && facts.accountIds.includes(facts.pinnedAccount);
  return [
    check(
      'paper_record',
      `at least ${MIN_SESSIONS} sessions on paper, no decision with two orders`,
      paper ? `${paper.sessions} sessions, ${paper.doubledDecisions} doubled` : 'not in this ledger',
      paper && paper.sessions >= MIN_SESSIONS && paper.doubledDecisions === 0,
    ),
    ...bookChecks(facts),
    check(
      'kill_switch_drill',
      `a stop of the last 30 days that the loop obeyed within ${MAX_DRILL_SECONDS} s`,
      drill ? `${drill.seconds.toFixed(1)} s on ${new Date(drill.atMs).toISOString()}` : 'none recorded',
      drill === undefined ? undefined : drillIsFresh === true && drill.seconds < MAX_DRILL_SECONDS,
    ),
    check(
      'strategy_limits',
      `each enabled strategy holds at most ${MAX_POSITION_PCT * 100} % of equity in a symbol`,
      tooLarge.map(({ name }) => name).join(' ') || `${strategies.length} strategies`,
      strategies.length > 0 && tooLarge.length === 0,
    ),
    check('notional_cap', 'TRADING_MAX_NOTIONAL_PER_TRADE is set', String(facts.hasNotionalCap), facts.hasNotionalCap),
    check('shorts_off', 'TRADING_ALLOW_SHORTS is false', String(!facts.allowShorts), !facts.allowShorts),
    check(
      'reviewer_harmless',
      'no AI reviewer, or one in shadow mode',
      String(facts.isReviewerHarmless),
      facts.isReviewerHarmless,
    ),
    check(
      'endpoint_pinned',
      'TRADING_MODE=live and the host of live accounts',
      `${facts.mode}, ${facts.brokerHost}`,
      facts.mode === 'live' && facts.brokerHost === 'api.alpaca.markets',
    ),
    check(
      'account_pinned',
      'the account that answers is TRADING_ACCOUNT_ID',
      facts.accountIds ? `${facts.pinnedAccount ?? 'not set'}` : 'the broker does not answer',
      isPinned === true,
    ),
    check('slo_met', 'the service levels of the last weeks were met', 'not visible from here', undefined),
    check('backup_restored', 'a backup of the ledger was restored in a test', 'not visible from here', undefined),
    check('alerts_fired', 'the alerts fired in a drill', 'not visible from here', undefined),
    check(
      'change_record',
      'there is a change record',
      facts.changeRecord ?? 'none given',
      facts.changeRecord !== undefined,
    ),
    check(
      'two_persons',
      'one person arms, another one confirms',
      facts.armedBy === undefined ? `${facts.actor} arms` : `armed by ${facts.armedBy}, confirmed by ${facts.actor}`,
      facts.armedBy === undefined || facts.armedBy !== facts.actor,
    ),
  ];
}

/** @throws `arming_refused` (exit 4) that names every condition that does not hold */
export function demandReady(checks: readonly Check[]): void {
  if (checks.every((check) => check.verdict === 'ok')) return;
  throw refusedError({
    code: 'arming_refused',
    what: 'live trading is not armed',
    why: describeProblems(checks),
    next: 'correct what is a problem; attest by name what only you can know (--attest slo_met)',
  });
}

export interface ArmPlan {
  id: string;
  step: 'arm' | 'confirm' | 'disarm';
  steps: readonly string[];
  untilMs: number;
}

const text = (ms: number): string => new Date(ms).toISOString();

/** @param armedUntilMs of the standing arming; undefined while there is none */
export function planArming(about: {
  step: ArmPlan['step'];
  accountLabel: string;
  accountId: string;
  actor: string;
  armedBy: string | undefined;
  untilMs: number;
}): ArmPlan {
  const { step, accountLabel, accountId, actor, armedBy, untilMs } = about;
  const words = {
    arm: `arm ${accountLabel} (account ${accountId}) until ${text(untilMs)}; nothing leaves before another person confirms`,
    confirm: `confirm as ${actor} that ${accountLabel} (account ${accountId}), armed by ${armedBy ?? 'nobody'}, may trade until ${text(untilMs)}`,
    disarm: `disarm ${accountLabel}: no order leaves for the live account`,
  };
  const facts = { action: `live_${step}`, accountLabel, accountId, untilMs, armedBy };
  return { id: planIdOf(facts), step, steps: [words[step]], untilMs };
}

/** The end of an arming: as asked for, never after the close of the running or the next session. @throws `arming_too_long` */
export function armedUntil(askedMs: number | undefined, sessionCloseMs: number, nowMs: number): number {
  const until = askedMs ?? sessionCloseMs;
  if (until > nowMs && until <= sessionCloseMs) return until;
  throw refusedError({
    code: 'arming_too_long',
    what: `an arming until ${text(until)} is not possible`,
    why: `it ends after now and at the close of the session at the latest (${text(sessionCloseMs)})`,
    next: 'leave --until out, or name an earlier time',
  });
}
