/**
 * Many decisions in few statements: a busy second brings dozens, and each statement is a round trip inside the transaction
 * that also moves the signal cursor.
 * Guarantee: the same rows and events as one by one; a known hash is left out, a decision with an end is never refused again.
 */
import { sql } from 'kysely';
import type { DecisionRefusal, NewDecision, ScreenedDecision } from './contract.ts';
import { toJsonb } from './jsonb.ts';
import type { LedgerDb } from './tables.ts';
import { numericOf, optionalNumeric, optionalTime, timeOf } from './values.ts';

/** A new row, without its end. */
export function columnsOf({ decision, decidedAtMs, detail }: NewDecision) {
  return {
    id: decision.id,
    strategy_id: decision.strategyId,
    strategy_name: decision.strategyName,
    alpaca_account_label: decision.accountLabel,
    symbol: decision.symbol,
    timeframe: decision.timeframe,
    event_ts: timeOf(decision.eventTsMs),
    action: decision.action,
    intent: decision.intent,
    qty: numericOf(decision.quantity),
    order_type: decision.orderType,
    time_in_force: decision.timeInForce,
    limit_price: optionalNumeric(decision.limitPrice),
    stop_price: optionalNumeric(decision.stopPrice),
    reference_price: optionalNumeric(decision.price),
    reference_price_as_of: optionalTime(decision.priceAsOfMs),
    rationale: decision.rationale,
    run_id: decision.signal.runId,
    window_size: decision.signal.windowSize,
    signal_revision: decision.signal.revision,
    source_partition: decision.signal.sourcePartition,
    source_offset: decision.signal.sourceOffset,
    decision_json: detail,
    decision_hash: decision.hash,
    status: 'planned' as const,
    decided_at: timeOf(decidedAtMs),
  };
}

/** Rows of one statement: 30 columns each, and a statement takes at most 65,535 parameters. */
const ROWS_AT_ONCE = 1_000;

/** Many decisions with their `planned` events, and their refusals where risk #1 refused them. Returns the ids inserted. */
export async function insertMany(db: LedgerDb, rows: readonly ScreenedDecision[], epoch: bigint): Promise<Set<string>> {
  const inserted = new Set<string>();
  for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
    const part = rows.slice(start, start + ROWS_AT_ONCE);
    const found = await db
      .insertInto('trade_decisions')
      .values(
        part.map((row) => ({
          ...columnsOf(row),
          status: row.refusal?.status ?? ('planned' as const),
          reasons: [...(row.refusal?.reasons ?? [])],
          reject_origin: row.refusal?.origin ?? null,
          resolved_at: optionalTime(row.refusal?.atMs),
        })),
      )
      .onConflict((conflict) => conflict.columns(['alpaca_account_label', 'decision_hash']).doNothing())
      .returning('id')
      .execute();
    for (const { id } of found) inserted.add(id);
    const events = part
      .filter((row) => inserted.has(row.decision.id))
      .flatMap(({ decision, decidedAtMs, refusal }) => [
        {
          decision_id: decision.id,
          stage: 'planned',
          at: timeOf(decidedAtMs),
          epoch,
          detail: toJsonb({ quantity: decision.quantity }),
        },
        ...(refusal ? [eventOf({ ...refusal, id: decision.id }, epoch)] : []),
      ]);
    if (events.length > 0) await db.insertInto('decision_events').values(events).execute();
  }
  return inserted;
}

function eventOf({ id, status, atMs, detail }: DecisionRefusal, epoch: bigint) {
  return { decision_id: id, stage: status, at: timeOf(atMs), epoch, detail };
}

/** Refuses many planned decisions. Returns the ids that were still planned. */
export async function refuseMany(
  db: LedgerDb,
  refusals: readonly DecisionRefusal[],
  epoch: bigint,
): Promise<Set<string>> {
  if (refusals.length === 0) return new Set();
  const given = toJsonb(
    refusals.map(({ id, status, reasons, origin, atMs }) => ({
      id,
      status,
      reasons,
      origin: origin ?? null,
      at: new Date(atMs),
    })),
    { maxBytes: 64 * 1024 * 1024 },
  );
  const changed = await sql<{ id: string }>`
    update trade_decisions d
    set status = r.status, reasons = array(select jsonb_array_elements_text(r.reasons)),
      reject_origin = r.origin, resolved_at = r.at
    from jsonb_to_recordset(${given}::jsonb) as r(id uuid, status text, reasons jsonb, origin text, at timestamptz)
    where d.id = r.id and d.status = 'planned'
    returning d.id
  `.execute(db);
  const ids = new Set(changed.rows.map((row) => row.id));
  const events = refusals.filter(({ id }) => ids.has(id)).map((refusal) => eventOf(refusal, epoch));
  for (let start = 0; start < events.length; start += ROWS_AT_ONCE) {
    await db
      .insertInto('decision_events')
      .values(events.slice(start, start + ROWS_AT_ONCE))
      .execute();
  }
  return ids;
}
