/**
 * From a planned decision to its end: review, fresh facts, risk #2, order desk (spec trading 1.2 [R]).
 * Guarantees: a decision leaves here submitted, unknown (the desk goes on looking), rejected or blocked, or the whole cycle
 * fails with an error that may pass and the decision is still planned; an error of ours in one decision rejects that one and
 * never stops the batch.
 */
import type { DecisionRow, Leadership, Ledger } from '../ledger/contract.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { OrderDesk, SubmitOutcome } from '../orders/contract.ts';
import type { Reviewer } from '../review/reviewer.ts';
import { evaluateRisk } from '../risk/evaluate.ts';
import { isBlocked } from '../risk/gates.ts';
import type { Decision } from '../risk/order.ts';
import type { PriceView, RiskSnapshot, TradingSwitches } from '../risk/snapshot.ts';
import type { Clock } from '../service/clock.ts';
import { crashPoint } from '../service/crash-point.ts';
import { codeOf, describeError, TorghutError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import { machineMs } from '../service/machine.ts';
import type { CatalogEntry } from '../strategy/catalog.ts';
import { type Book, positionOf, readBook, withSubmitted } from './book.ts';
import type { BrokerView, SignalSource } from './ports.ts';
import type { SessionState } from './session.ts';
import { limitsFor, type TradingSettings } from './settings.ts';

/** Machine ms that account and positions may be old at risk #2; what was submitted since is added by hand. */
const BOOK_FRESH_MS = 500;

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

export async function processPlanned(
  rows: readonly DecisionRow[],
  context: ProcessContext,
  ports: ProcessPorts,
  signal: AbortSignal,
): Promise<ProcessSummary> {
  const { ledger, leadership, clock, log, broker, settings } = ports;
  const summary: ProcessSummary = { submitted: 0, unknown: 0, refused: [] };
  const entryTimes = new Map(context.entryTimes);
  let book = context.book;
  const prices = new Map<string, PriceView>();
  const symbols = [...new Set(rows.map((row) => row.decision.symbol))];

  for (const { decision } of rows) {
    if (signal.aborted) break;
    try {
      const review = await ports.reviewer.review({ decision, nowMs: clock.nowMs() }, signal);
      if (book === undefined || machineMs() - book.readAtMachineMs > BOOK_FRESH_MS) {
        book = await readBook(settings.accountLabel, ledger.read, broker);
        prices.clear();
      }
      if (prices.size === 0) {
        const lookback = settings.priceLookbackMinutes * 60_000;
        const read = await ports.signals.newestPrices(symbols, clock.nowMs(), lookback);
        for (const [symbol, price] of read) prices.set(symbol, price);
      }
      const entry = context.entries.get(decision.strategyName);
      const scope = `${decision.strategyId} ${decision.symbol}`;
      const lastEntryAtMs = context.fresh.has(decision.id)
        ? entryTimes.get(scope)
        : await ledger.read.decisions.newestEntryAtMs({ ...decision, exceptId: decision.id });
      const snapshot: RiskSnapshot = {
        nowMs: clock.nowMs(),
        switches: context.switches,
        session: context.session,
        account: book.account,
        position: positionOf(book, decision.symbol),
        pending: book.pending,
        price: prices.get(decision.symbol),
        asset: await broker.asset(decision.symbol),
        lastEntryAtMs,
      };
      const result = evaluateRisk(review.decision, snapshot, limitsFor(settings, entry));
      const detail = toJsonb({ reviewer: ports.reviewer.name, ...result.record });
      if (!result.ok) {
        await refuse(decision, result.refusal.reasons, detail);
        continue;
      }
      await ledger.write(leadership, (tx) =>
        tx.decisions.addEvent(decision.id, { stage: 'risk_2', atMs: snapshot.nowMs, detail }),
      );
      crashPoint('cycle.risk_done');
      const outcome = await ports.desk.submit(result.order);
      crashPoint('cycle.submitted');
      count(outcome);
      if (outcome.kind === 'submitted' || outcome.kind === 'unknown') {
        book = withSubmitted(book, result.order.terms, snapshot.price?.price, result.record.isClosing);
        if (decision.intent === 'entry') entryTimes.set(scope, snapshot.nowMs);
      }
    } catch (error) {
      if (endsCycle(error)) throw error;
      const name = error instanceof TorghutError ? error.code : error instanceof Error ? error.name : 'unknown';
      log.error({ decision_id: decision.id, err: describeError(error) }, 'a decision failed');
      await refuse(decision, [`decision_handler_error_${name}`], toJsonb({ error: describeError(error) }), 'handler');
    }
  }
  return summary;

  function count(outcome: SubmitOutcome): void {
    if (outcome.kind === 'submitted' || outcome.kind === 'unknown') summary[outcome.kind] += 1;
    else if (outcome.kind !== 'duplicate') {
      summary.refused.push({ reasons: outcome.reasons, isHeld: outcome.kind === 'blocked' });
    }
  }

  async function refuse(
    decision: Decision,
    reasons: readonly string[],
    detail: ReturnType<typeof toJsonb>,
    origin: 'risk' | 'handler' = 'risk',
  ): Promise<void> {
    const atMs = clock.nowMs();
    const isHeld = origin === 'risk' && isBlocked(reasons);
    const changed = await ledger.write(leadership, (tx) =>
      isHeld
        ? tx.decisions.block(decision.id, { reasons, atMs, detail })
        : tx.decisions.reject(decision.id, { reasons, origin, atMs, detail }),
    );
    if (changed) summary.refused.push({ reasons, isHeld });
  }
}
