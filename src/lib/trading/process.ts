/**
 * From a planned decision to its end: review, fresh facts, risk #2, order desk (spec trading 1.2 [R]).
 * Guarantees: a decision leaves here submitted, unknown (the desk goes on looking), rejected or blocked, or the whole cycle
 * fails with an error that may pass and the decision is still planned; an error of ours in one decision rejects that one and
 * never stops the batch.
 */
import type { DecisionRefusal, DecisionRow, Leadership, Ledger } from '../ledger/contract.ts';
import { type Jsonb, toJsonb } from '../ledger/jsonb.ts';
import type { OrderDesk } from '../orders/contract.ts';
import { applyReview, type Reviewer } from '../review/reviewer.ts';
import { evaluateRisk, type RiskResult } from '../risk/evaluate.ts';
import { isBlocked } from '../risk/gates.ts';
import type { Decision } from '../risk/order.ts';
import type { PriceView, RiskSnapshot, TradingSwitches } from '../risk/snapshot.ts';
import type { Clock } from '../service/clock.ts';
import { crashPoint } from '../service/crash-point.ts';
import { codeOf, describeError, TorghutError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import { machineMs } from '../service/machine.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import { type Book, holdingsOf, positionOf, readBook, withSubmitted } from './book.ts';
import type { BrokerView, SignalSource } from './ports.ts';
import type { SessionState } from './session.ts';
import { limitsFor, type TradingSettings } from './settings.ts';

/** Machine ms that account, positions and prices may be old when an order is sent; what was submitted since is added by hand. */
const FACTS_FRESH_MS = 1_000;

export interface ProcessPorts {
  settings: TradingSettings;
  clock: Clock;
  log: Logger;
  ledger: Ledger;
  leadership: Leadership;
  desk: OrderDesk;
  broker: BrokerView;
  signals: SignalSource;
  reviewer: Reviewer;
}

export interface ProcessContext {
  switches: TradingSwitches;
  session: SessionState;
  /** What may be traded now. */
  universe: readonly string[] | 'all';
  /** Catalog entries by strategy name. */
  entries: ReadonlyMap<string, CatalogEntry>;
  /** Newest entry by `strategyId symbol` as it was before this batch was planned. */
  entryTimes: ReadonlyMap<string, number>;
  /** The batch's first reading; undefined when none was needed yet. */
  book: Book | undefined;
  /** Decisions planned by this cycle; others are left-overs of an earlier one. */
  fresh: ReadonlySet<string>;
}

export interface ProcessSummary {
  submitted: number;
  unknown: number;
  /** One entry per refused decision; `isHeld`: a switch blocked it. */
  refused: { reasons: readonly string[]; isHeld: boolean }[];
}

/** Errors after which nothing of this cycle may go on: it is tried again from the ledger's state. */
export function endsCycle(error: unknown): boolean {
  if (error instanceof TorghutError) {
    return error.canRetry || error.code === 'leadership_lost' || error.code.startsWith('ledger_');
  }
  // Postgres' own errors carry a five-character SQLSTATE: the state of the transaction is not ours to judge.
  return /^[0-9A-Z]{5}$/.test(codeOf(error) ?? '');
}

interface Facts {
  book: Book;
  prices: ReadonlyMap<string, PriceView>;
}

interface Refusal {
  decision: Decision;
  reasons: readonly string[];
  origin: 'risk' | 'handler';
  detail: Jsonb;
}

export async function processPlanned(
  rows: readonly DecisionRow[],
  context: ProcessContext,
  ports: ProcessPorts,
  signal: AbortSignal,
): Promise<ProcessSummary> {
  const { ledger, leadership, clock, log, broker, settings } = ports;
  const summary: ProcessSummary = { submitted: 0, unknown: 0, refused: [] };
  const entryTimes = new Map(context.entryTimes);
  const symbols = [...new Set(rows.map((row) => row.decision.symbol))];
  const refusals: Refusal[] = [];
  let facts = await gather(context.book);

  for (const { decision } of rows) {
    if (signal.aborted) break;
    try {
      const review = await ports.reviewer.review({ decision, nowMs: clock.nowMs() }, signal);
      const reviewed = applyReview(decision, review);
      const said = { reviewer: ports.reviewer.name, verdict: review.verdict, review_reasons: reviewed.reasons };
      if (!reviewed.ok) {
        refusals.push({ decision, reasons: reviewed.reasons, origin: 'risk', detail: toJsonb(said) });
        continue;
      }
      let result = await evaluate(decision, reviewed.decision);
      if (result.ok && machineMs() - facts.book.readAtMachineMs > FACTS_FRESH_MS) {
        // Only what is about to be sent needs the newest facts; a refusal may rest on slightly older ones.
        facts = await gather(undefined);
        result = await evaluate(decision, reviewed.decision);
      }
      const detail = toJsonb({ ...said, ...result.record });
      if (result.ok) await send(decision, result, detail);
      else refusals.push({ decision, reasons: result.refusal.reasons, origin: 'risk', detail });
    } catch (error) {
      if (endsCycle(error)) throw error;
      const name = error instanceof TorghutError ? error.code : error instanceof Error ? error.name : 'unknown';
      log.error({ decision_id: decision.id, err: describeError(error) }, 'a decision failed');
      const reasons = [`decision_handler_error_${name}`];
      refusals.push({ decision, reasons, origin: 'handler', detail: toJsonb({ error: describeError(error) }) });
    }
  }
  // One transaction for all: a crash before it leaves them planned, and the next cycle refuses them.
  if (refusals.length > 0) await refuse(refusals);
  return summary;

  async function gather(book: Book | undefined): Promise<Facts> {
    const lookback = settings.priceLookbackMinutes * 60_000;
    const [taken, prices] = await Promise.all([
      book ?? readBook(settings.accountLabel, ledger.read, broker),
      ports.signals.newestPrices(symbols, clock.nowMs(), lookback),
    ]);
    return { book: taken, prices };
  }

  async function evaluate(planned: Decision, reviewed: Decision): Promise<RiskResult> {
    const { strategyId, symbol, accountLabel } = planned;
    const lastEntryAtMs = context.fresh.has(planned.id)
      ? entryTimes.get(scopeOf(planned))
      : await ledger.read.decisions.newestEntryAtMs({ accountLabel, strategyId, symbol, exceptId: planned.id });
    const snapshot: RiskSnapshot = {
      nowMs: clock.nowMs(),
      switches: context.switches,
      session: context.session,
      account: facts.book.account,
      position: positionOf(facts.book, symbol),
      holdings: holdingsOf(facts.book, facts.prices),
      pending: facts.book.pending,
      price: facts.prices.get(symbol),
      asset: await broker.asset(symbol),
      lastEntryAtMs,
    };
    const entry = context.entries.get(planned.strategyName);
    return evaluateRisk(reviewed, snapshot, limitsFor(settings, entry, context.universe));
  }

  async function send(decision: Decision, result: RiskResult & { ok: true }, detail: Jsonb): Promise<void> {
    const { order, record } = result;
    await ledger.write(leadership, (tx) =>
      tx.decisions.addEvent(decision.id, { stage: 'risk_2', atMs: record.atMs, detail }),
    );
    crashPoint('cycle.risk_done');
    const outcome = await ports.desk.submit(order);
    crashPoint('cycle.submitted');
    if (outcome.kind === 'submitted' || outcome.kind === 'unknown') {
      summary[outcome.kind] += 1;
      const book = withSubmitted(facts.book, order.terms, record.price ?? undefined, record.isClosing);
      facts = { ...facts, book };
      if (decision.intent === 'entry') entryTimes.set(scopeOf(decision), record.atMs);
    } else if (outcome.kind !== 'duplicate') {
      summary.refused.push({ reasons: outcome.reasons, isHeld: outcome.kind === 'blocked' });
    }
  }

  async function refuse(all: readonly Refusal[]): Promise<void> {
    const atMs = clock.nowMs();
    const rows = all.map(({ decision, reasons, origin, detail }): DecisionRefusal => {
      const refusal = { id: decision.id, reasons, atMs, detail };
      const isHeld = origin === 'risk' && isBlocked(reasons);
      return isHeld ? { ...refusal, status: 'blocked' } : { ...refusal, status: 'rejected', origin };
    });
    const changed = await ledger.write(leadership, (tx) => tx.decisions.refuseMany(rows));
    for (const { id, reasons, status } of rows) {
      if (changed.has(id)) summary.refused.push({ reasons, isHeld: status === 'blocked' });
    }
  }
}

const scopeOf = (decision: Decision): string => `${decision.strategyId} ${decision.symbol}`;
