/**
 * The submit protocol (spec 4.1 as narrowed by design 5): claim → check → broker_io → exactly one POST → settle.
 * Guarantees: the claim is durable before anything leaves; one POST per claim, for ever; an unknown outcome is looked up by
 * client order id until it is found, or a 404 after the look-up time, then refused `submit_unconfirmed_expired`.
 */
import type { MutationReply } from '../alpaca/trading-errors.ts';
import type { BrokerOrder } from '../alpaca/trading-schema.ts';
import type { ClaimRow } from '../ledger/claims.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import { isApprovedOrder, isReduceOnlyOrder } from '../risk/approved.ts';
import type { ApprovedOrder, ReduceOnlyOrder } from '../risk/order.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import type { DeskContext } from './context.ts';
import type { RecoverySummary, SubmitOutcome } from './contract.ts';
import { DAY_TRADE_HOLD, isDayTradeHeld } from './day-trade.ts';
import { checkPayload } from './firewall.ts';
import { fromClaim, fromRisk, type SendableOrder } from './sendable.ts';
import { lookUp, refuse, type Sendable, settle } from './settle.ts';

/** claim → one POST → settle for an approved order. @throws `order_not_approved` */
export async function submitApproved(context: DeskContext, order: ApprovedOrder): Promise<SubmitOutcome> {
  // The brand holds at compile time; this holds for what a cast or another module made.
  if (!isApprovedOrder(order)) throw notApproved();
  return submitOrder(context, order, fromRisk(order, false));
}

/** The same for an order that only lowers a position: pause, kill switch and emergency stop do not hold it (spec 3.4). */
export async function submitReduction(context: DeskContext, order: ReduceOnlyOrder): Promise<SubmitOutcome> {
  if (!isReduceOnlyOrder(order)) throw notApproved();
  return submitOrder(context, order, fromRisk(order, true));
}

function notApproved(): TorghutError {
  return new TorghutError({
    code: 'order_not_approved',
    what: 'the order desk refused an order that risk did not approve',
    why: 'the object was not made by lib/risk in this process',
    next: 'send every order through risk #2',
    exitCode: 4,
  });
}

async function submitOrder(
  context: DeskContext,
  order: ApprovedOrder | ReduceOnlyOrder,
  sendable: SendableOrder,
): Promise<SubmitOutcome> {
  const { decision, terms } = order;
  const { clientOrderId } = sendable;
  const { accountLabel } = context.settings;
  if (decision.accountLabel !== accountLabel) {
    throw new TorghutError({
      code: 'order_firewall_account_label_mismatch',
      what: 'an order of another account reached this desk',
      why: `${decision.accountLabel} is not ${accountLabel}`,
      exitCode: 4,
    });
  }
  const isHeldToday =
    decision.intent === 'entry' && isDayTradeHeld(context.flags.dayTradeRefusedAtMs, context.clock.nowMs());
  const held = heldBecause(context, sendable.isReduceOnly) ?? (isHeldToday ? DAY_TRADE_HOLD : undefined);
  if (held) return hold(context, sendable, 'planned', held);

  crashPoint('claim.before');
  context.inFlight.add(decision.id);
  try {
    const claimed = await context.write(async (tx) => {
      const nowMs = context.clock.nowMs();
      const isNew = await tx.claims.insert({
        decisionId: decision.id,
        accountLabel,
        clientOrderId,
        intent: decision.intent,
        terms,
        ...(decision.price === undefined ? {} : { referencePrice: decision.price }),
        approvedAtMs: order.approvedAtMs,
        claimedAtMs: nowMs,
        epoch: context.leadership.epoch,
        owner: String(process.pid),
      });
      if (isNew) {
        await tx.decisions.addEvent(decision.id, {
          stage: 'submit_requested',
          atMs: nowMs,
          detail: toJsonb({ client_order_id: clientOrderId, terms, approved_at_ms: order.approvedAtMs }),
        });
      }
      return isNew;
    });
    if (!claimed) {
      context.counters.duplicates += 1;
      const existing = await context.ledger.orderRead.claims.byDecision(decision.id);
      return { kind: 'duplicate', clientOrderId, claimState: existing?.state ?? 'claimed_by_another_decision' };
    }
    crashPoint('claim.committed');
    return await sendClaim(context, sendable);
  } finally {
    context.inFlight.delete(decision.id);
  }
}

/** Switches that hold an order before anything is written or sent. */
function heldBecause(context: DeskContext, isReduceOnly: boolean): string | undefined {
  if (context.flags.isDraining) return 'draining';
  if (context.flags.isBrokerAuthLatched) return 'broker_auth';
  return context.firewall.closedBecause(isReduceOnly);
}

/** The switches as the ledger has them right before the POST, and those of the process. */
async function heldNow(context: DeskContext, isReduceOnly: boolean): Promise<string | undefined> {
  if (!isReduceOnly) {
    const controls = await context.ledger.read.account.controls(context.settings.accountLabel);
    if (controls.killSwitch) return 'kill_switch_enabled';
    if (controls.paused) return 'trading_paused';
    if (controls.emergencyStopReason !== undefined) return 'emergency_stop_active';
  }
  return heldBecause(context, isReduceOnly);
}

/** Refuses a claim, or a decision without one, that a switch holds. */
async function hold(
  context: DeskContext,
  order: Sendable,
  from: 'planned' | 'claimed',
  reason: string,
): Promise<SubmitOutcome> {
  await context.write(async (tx) => {
    const atMs = context.clock.nowMs();
    if (from === 'claimed') {
      await tx.claims.rejected(order.decisionId, { from, reasons: [reason], atMs, wasLookedUp: false });
    }
    await tx.decisions.block(order.decisionId, { reasons: [reason], atMs });
  });
  return { kind: 'blocked', reasons: [reason] };
}

/** The steps after the claim: check, broker_io, one POST, settle. */
async function sendClaim(context: DeskContext, order: SendableOrder): Promise<SubmitOutcome> {
  const { clock, settings, firewall, leadership } = context;
  // The token first: a claim in broker_io must not wait, and the age is checked after the wait.
  await firewall.reserve('normal');
  const ageMs = clock.nowMs() - order.approvedAtMs;
  if (ageMs > settings.maxDecisionAgeMs) {
    await refuse(context, order, 'claimed', {
      reasons: ['decision_too_old'],
      origin: 'desk',
      detail: { age_ms: ageMs },
    });
    return { kind: 'rejected', reasons: ['decision_too_old'] };
  }
  const held = await heldNow(context, order.isReduceOnly);
  if (held === 'leadership_lost') leadership.assertHeld();
  if (held) return hold(context, order, 'claimed', held);
  const badPayload = payloadProblem(order);
  if (badPayload) {
    await refuse(context, order, 'claimed', {
      reasons: [badPayload.code],
      origin: 'desk',
      detail: { why: badPayload.why },
    });
    return { kind: 'rejected', reasons: [badPayload.code] };
  }
  crashPoint('check.done');

  crashPoint('broker_io.before');
  const begun = await context.write((tx) =>
    tx.claims.beginBrokerIo(order.decisionId, settings.submitLookupMs, leadership.epoch, String(process.pid)),
  );
  if (!begun) {
    const existing = await context.ledger.orderRead.claims.byDecision(order.decisionId);
    return { kind: 'duplicate', clientOrderId: order.clientOrderId, claimState: existing?.state ?? 'unknown' };
  }
  crashPoint('broker_io.committed');

  // From here on only the broker's own word, or a look-up, settles the claim.
  crashPoint('post.before');
  context.counters.posts += 1;
  const kind = `${order.terms.side} ${order.terms.symbol.includes('/') ? 'crypto' : 'us_equity'}`;
  context.counters.attempts[kind] = (context.counters.attempts[kind] ?? 0) + 1;
  let reply: MutationReply<BrokerOrder>;
  try {
    reply = await firewall.submit(order);
  } catch (error) {
    // The firewall throws before anything is sent. Without leadership nothing may be written either.
    if (!(error instanceof TorghutError) || error.code === 'leadership_lost') throw error;
    await refuse(context, order, 'broker_io', { reasons: [error.code], origin: 'desk', detail: { why: error.why } });
    return { kind: 'rejected', reasons: [error.code] };
  }
  crashPoint('post.after');

  switch (reply.kind) {
    case 'ok':
      return settle(context, order, reply.value, false);
    case 'unknown':
      context.counters.unknown += 1;
      context.log.warn({ client_order_id: order.clientOrderId, why: reply.why }, 'outcome of the submit is unknown');
      return { kind: 'unknown', clientOrderId: order.clientOrderId, why: reply.why };
    case 'refused': {
      if (reply.refusal === 'broker_duplicate_client_order_id') {
        const found = await lookUp(context, order.clientOrderId);
        if (found) return settle(context, order, found, true);
        context.counters.unknown += 1;
        return {
          kind: 'unknown',
          clientOrderId: order.clientOrderId,
          why: 'the broker knows the id but does not show it',
        };
      }
      if (reply.refusal === 'broker_auth') context.flags.isBrokerAuthLatched = true;
      if (reply.refusal === 'broker_pattern_day_trader') context.flags.dayTradeRefusedAtMs = clock.nowMs();
      const detail = { http_status: reply.status, broker_code: reply.code, broker_message: reply.message };
      const isRefused = await refuse(context, order, 'broker_io', {
        reasons: [reply.refusal],
        origin: 'broker',
        detail,
      });
      if (!isRefused) {
        // A trade update has settled the claim meanwhile: the order is there, whatever this answer says.
        const existing = await context.ledger.orderRead.claims.byDecision(order.decisionId);
        return { kind: 'duplicate', clientOrderId: order.clientOrderId, claimState: existing?.state ?? 'unknown' };
      }
      return {
        kind: 'rejected',
        reasons: [reply.refusal],
        brokerStatus: reply.status,
        brokerMessage: reply.message,
        ...(reply.code === undefined ? {} : { brokerCode: reply.code }),
      };
    }
  }
}

/** What the firewall would refuse, found before anything is on its way. */
function payloadProblem(order: Sendable): TorghutError | undefined {
  try {
    checkPayload(order.terms, order.clientOrderId);
    return undefined;
  } catch (error) {
    if (error instanceof TorghutError) return error;
    throw error;
  }
}

/** One look at a claim whose POST has begun. */
async function resolveUnknown(context: DeskContext, claim: ClaimRow): Promise<'adopted' | 'rejected' | 'unknown'> {
  // Read before the look-up: only a 404 given after the deadline counts.
  const isOver = claim.isLookupOver;
  let found: BrokerOrder | undefined;
  try {
    found = await lookUp(context, claim.clientOrderId);
  } catch (error) {
    context.log.warn({ client_order_id: claim.clientOrderId, err: describeError(error) }, 'look-up failed');
    return 'unknown';
  }
  if (found) {
    const outcome = await settle(context, claim, found, true);
    return outcome.kind === 'submitted' ? 'adopted' : 'unknown';
  }
  if (!isOver) {
    await context.write((tx) => tx.claims.lookedUp(claim.decisionId));
    return 'unknown';
  }
  crashPoint('expire.before');
  const refused = await refuse(context, claim, 'broker_io', {
    reasons: ['submit_unconfirmed_expired'],
    origin: 'desk',
    wasLookedUp: true,
    detail: { lookups: claim.lookups + 1 },
  });
  crashPoint('expire.committed');
  return refused ? 'rejected' : 'unknown';
}

/** Resolves open claims that no POST of this process is waiting for. Claims that never began get their POST while fresh. */
export async function resolveClaims(
  context: DeskContext,
  isDue: (claim: ClaimRow) => boolean = () => true,
): Promise<RecoverySummary> {
  const summary: RecoverySummary = { claims: 0, posted: 0, adopted: 0, rejected: 0, unknown: 0 };
  const open = await context.ledger.orderRead.claims.open(context.settings.accountLabel);
  for (const claim of open) {
    if (context.inFlight.has(claim.decisionId)) continue;
    if (claim.state === 'broker_io' && !isDue(claim)) {
      summary.unknown += 1;
      continue;
    }
    summary.claims += 1;
    context.inFlight.add(claim.decisionId);
    try {
      if (claim.state === 'claimed') {
        const outcome = await sendClaim(context, fromClaim(claim));
        if (outcome.kind === 'submitted' || outcome.kind === 'unknown') summary.posted += 1;
        if (outcome.kind === 'rejected' || outcome.kind === 'blocked') summary.rejected += 1;
        if (outcome.kind === 'unknown') summary.unknown += 1;
      } else {
        summary[await resolveUnknown(context, claim)] += 1;
      }
    } finally {
      context.inFlight.delete(claim.decisionId);
    }
  }
  return summary;
}
