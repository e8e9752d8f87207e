/**
 * The transaction that finishes a batch of signal rows: decisions with the inputs and results of risk #1, what was read but
 * not traded, evaluated times, and the cursor (compare and set).
 * Guarantee: all of it or nothing; after it every row of the batch is decided, before it every row is unread.
 */
import type { CursorKey, DecisionRow, ScreenedDecision } from '../ledger/contract.ts';
import { type Jsonb, toJsonb } from '../ledger/jsonb.ts';
import { screenDecision } from '../risk/evaluate.ts';
import { isBlocked } from '../risk/gates.ts';
import type { PriceView, RiskSnapshot, TradingSwitches } from '../risk/snapshot.ts';
import { crashPoint } from '../service/crash-point.ts';
import { describeError, TorghutError } from '../service/errors.ts';
import { type Book, holdingsOf, positionOf } from './book.ts';
import type { MadeDecision } from './decide.ts';
import type { Plan } from './plan.ts';
import type { SignalRow, WindowSize } from './ports.ts';
import type { ProcessPorts } from './process.ts';
import type { SessionState } from './session.ts';
import { limitsFor } from './settings.ts';

/** Next source offset by `windowSize:partition`. */
export type CursorMap = ReadonlyMap<string, bigint>;

export const cursorName = (key: { windowSize: string; partition: number }): string =>
  `${key.windowSize}:${key.partition}`;

function parseCursorName(name: string): { windowSize: WindowSize; partition: number } {
  const [windowSize, partition] = name.split(':');
  return { windowSize: windowSize === 'PT1M' ? 'PT1M' : 'PT1S', partition: Number(partition) };
}

/** What the decisions of a batch were made from, for risk #1. */
export interface BatchFacts {
  book: Book;
  prices: ReadonlyMap<string, PriceView>;
  /** Newest entries before this batch, by `strategyId symbol`. */
  entryTimes: ReadonlyMap<string, number>;
}

export interface BatchInput {
  rows: readonly SignalRow[];
  plan: Plan;
  decisions: readonly MadeDecision[];
  /** undefined when the batch made no decisions. */
  facts: BatchFacts | undefined;
  switches: TradingSwitches;
  session: SessionState;
  /** What may be traded now. */
  universe: readonly string[] | 'all';
  cursor: CursorMap;
}

export interface CommittedBatch {
  /** Decisions that passed risk #1. */
  planned: DecisionRow[];
  refused: { reasons: readonly string[]; isHeld: boolean }[];
  cursor: CursorMap;
  atMs: number;
}

function cursorAfter(cursor: CursorMap, rows: readonly SignalRow[]): Map<string, bigint> {
  const next = new Map(cursor);
  for (const row of rows) {
    const name = cursorName(row);
    if (row.offset >= (next.get(name) ?? 0n)) next.set(name, row.offset + 1n);
  }
  return next;
}

type CommitPorts = Pick<ProcessPorts, 'settings' | 'clock' | 'ledger' | 'leadership'>;

/** @throws `cursor_moved`, `leadership_lost`, `ledger_unreachable`: nothing was written */
export async function commitBatch(batch: BatchInput, ports: CommitPorts): Promise<CommittedBatch> {
  const { settings, clock, ledger, leadership } = ports;
  const { accountLabel, runId } = settings;
  const nowMs = clock.nowMs();
  const next = cursorAfter(batch.cursor, batch.rows);
  const keyOf = (place: { windowSize: WindowSize; partition: number }): CursorKey => ({
    accountLabel,
    runId,
    windowSize: place.windowSize,
    partition: place.partition,
  });
  const screened = batch.decisions.map((item) => screen(item, batch, ports, nowMs));
  crashPoint('cycle.decided');
  const inserted = await ledger.write(leadership, async (tx) => {
    const ids = await tx.decisions.insertMany(screened);
    await tx.cursors.recordSignals(
      batch.plan.notes.map(({ row, kind, wouldDiffer }) => ({
        ...keyOf(row),
        sourceOffset: row.offset,
        symbol: row.symbol,
        eventTsMs: row.eventTsMs,
        revision: row.revision,
        kind,
        atMs: nowMs,
        ...(wouldDiffer === undefined ? {} : { wouldDiffer }),
      })),
    );
    await tx.cursors.setEvaluated(accountLabel, runId, [...batch.plan.evaluated.values()]);
    for (const [name, to] of next) {
      const from = batch.cursor.get(name);
      if (from !== to) await tx.cursors.advance(keyOf(parseCursorName(name)), from, to, nowMs);
    }
    crashPoint('cycle.in_transaction');
    return ids;
  });
  crashPoint('cycle.committed');
  // Known already (a cursor that was lost): a planned one is among the left-overs, any other has its end.
  const mine = screened.filter((row) => inserted.has(row.decision.id));
  const planned = mine
    .filter((row) => row.refusal === undefined)
    .map(({ decision }): DecisionRow => ({ decision, status: 'planned', decidedAtMs: nowMs, reasons: [] }));
  const refused = mine.flatMap(({ refusal }) =>
    refusal ? [{ reasons: refusal.reasons, isHeld: refusal.status === 'blocked' }] : [],
  );
  return { planned, refused, cursor: next, atMs: nowMs };
}

/** Risk #1 on the facts of the batch; its inputs and result are stored with the decision. */
function screen(
  item: MadeDecision,
  { facts, switches, session, universe }: BatchInput,
  { settings }: CommitPorts,
  nowMs: number,
): ScreenedDecision {
  const { decision } = item;
  const snapshot: RiskSnapshot = {
    nowMs,
    switches,
    session,
    account: facts?.book.account,
    position: facts && positionOf(facts.book, decision.symbol),
    holdings: facts && holdingsOf(facts.book, facts.prices),
    pending: facts?.book.pending ?? [],
    price: facts?.prices.get(decision.symbol),
    // Asked of the broker only for what reaches risk #2.
    asset: undefined,
    lastEntryAtMs: facts?.entryTimes.get(`${decision.strategyId} ${decision.symbol}`),
  };
  const { reasons, record } = screenDecision(decision, snapshot, limitsFor(settings, item.wish.entry, universe));
  let detail: Jsonb;
  try {
    detail = toJsonb({ ...item.detail, risk_1: record });
  } catch (error) {
    // It would break the transaction of all the others, now and at every further try.
    if (!(error instanceof TorghutError) || error.code !== 'json_not_storable') throw error;
    const why = toJsonb({ stage: 1, error: describeError(error) });
    const refusal = { reasons: [`decision_handler_error_${error.code}`], atMs: nowMs, detail: why };
    return {
      decision,
      decidedAtMs: nowMs,
      detail: why,
      refusal: { ...refusal, status: 'rejected', origin: 'handler' },
    };
  }
  const row = { decision, decidedAtMs: nowMs, detail };
  if (reasons.length === 0) return row;
  const refusal = { reasons, atMs: nowMs, detail: toJsonb({ stage: 1, reasons }) };
  if (isBlocked(reasons)) return { ...row, refusal: { ...refusal, status: 'blocked' } };
  return { ...row, refusal: { ...refusal, status: 'rejected', origin: 'risk' } };
}
