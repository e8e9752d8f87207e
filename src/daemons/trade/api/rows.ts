/** Rows of the ledger as the HTTP API shows them, and the places of its pages. */
import { z } from 'zod';
import type { DecisionRow, ExecutionRow, ListPlace } from '../../../lib/ledger/contract.ts';

export const timeText = (ms: number | undefined): string | null =>
  ms === undefined ? null : new Date(ms).toISOString();

export function decisionJson({ decision, ...row }: DecisionRow): Record<string, unknown> {
  return {
    id: decision.id,
    strategy: decision.strategyName,
    symbol: decision.symbol,
    timeframe: decision.timeframe,
    event_ts: timeText(decision.eventTsMs),
    decided_at: timeText(row.decidedAtMs),
    action: decision.action,
    intent: decision.intent,
    qty: decision.quantity.toFixed(),
    price: decision.price?.toFixed() ?? null,
    status: row.status,
    reasons: row.reasons,
    reject_origin: row.rejectOrigin ?? null,
    executed_at: timeText(row.executedAtMs),
    rationale: decision.rationale,
    signal: {
      run_id: decision.signal.runId,
      window_size: decision.signal.windowSize,
      revision: decision.signal.revision,
      src_partition: decision.signal.sourcePartition,
      src_offset: decision.signal.sourceOffset.toString(),
    },
    decision_hash: decision.hash,
  };
}

export function executionJson(row: ExecutionRow): Record<string, unknown> {
  return {
    id: row.id,
    decision_id: row.decisionId ?? null,
    alpaca_order_id: row.brokerOrderId,
    client_order_id: row.clientOrderId,
    symbol: row.symbol,
    side: row.side,
    order_type: row.orderType,
    qty: row.submittedQty.toFixed(),
    filled_qty: row.filledQty.toFixed(),
    avg_fill_price: row.avgFillPrice?.toFixed() ?? null,
    state: row.state,
    broker_status: row.brokerStatus,
    is_final: row.isFinal,
    is_late_accepted: row.isLateAccepted,
    is_orphan: row.isOrphan,
    submitted_at: timeText(row.submittedAtMs),
    filled_at: timeText(row.filledAtMs),
    canceled_at: timeText(row.canceledAtMs),
  };
}

const placeSchema = z.strictObject({ at: z.number().int(), id: z.uuid() });

/** Opaque to the reader; nothing in it is secret. */
export const cursorText = ({ atMs, id }: ListPlace): string =>
  Buffer.from(JSON.stringify({ at: atMs, id })).toString('base64url');

/** undefined when the text is no cursor of ours. */
export function parseCursor(text: string): ListPlace | undefined {
  try {
    const parsed = placeSchema.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
    return parsed.success ? { atMs: parsed.data.at, id: parsed.data.id } : undefined;
  } catch {
    return undefined;
  }
}
