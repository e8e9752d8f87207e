/**
 * Trade updates as the log carries them (spec ingest 5, alpaca-protocol 2): envelope → order, fill, fingerprint. Pure.
 * Guarantee: the same event has the same fingerprint however often and at whatever offset it comes: by its execution id
 * where it has one, else by order, event, status, quantity and times.
 */
import { createHash } from 'node:crypto';
import { Decimal } from 'decimal.js';
import { z } from 'zod';
import { type BrokerOrder, parseOrder } from '../alpaca/trading-schema.ts';
import { toJsonb } from '../ledger/jsonb.ts';
import type { OrderEvent } from '../ledger/order-events.ts';
import type { LogRecord } from '../log/port.ts';
import { envelopeSchema } from '../market/envelope.ts';
import { parseTimestampNs } from '../market/time.ts';
import type { FillReport } from './order-book.ts';

const amountText = z.union([z.string(), z.number()]).nullish();
const payloadSchema = z.looseObject({
  event: z.string().min(1),
  execution_id: z.string().nullish(),
  timestamp: z.string().nullish(),
  price: amountText,
  qty: amountText,
  order: z.record(z.string(), z.unknown()),
});

export interface TradeUpdate {
  event: string;
  order: BrokerOrder;
  /** The fill of this update, for fill and partial_fill. */
  fill?: FillReport;
  executionId?: string;
  /** Market ms. */
  atMs: number;
  fingerprint: string;
  payload: Record<string, unknown>;
}

export type ReadUpdate =
  | { kind: 'update'; update: TradeUpdate; row: OrderEvent }
  | { kind: 'ignored' }
  | { kind: 'unreadable'; why: string };

function decimalOf(value: string | number | null | undefined): Decimal | undefined {
  if (value === null || value === undefined || value === '') return undefined;
  try {
    const decimal = new Decimal(value);
    return decimal.isFinite() ? decimal : undefined;
  } catch {
    return undefined;
  }
}

/** Parses the provider's `data` object. @throws ZodError, Error */
export function parseTradeUpdate(payload: Record<string, unknown>): TradeUpdate {
  const data = payloadSchema.parse(payload);
  const order = parseOrder(data.order);
  const atNs = (data.timestamp ? parseTimestampNs(data.timestamp) : undefined) ?? order.updatedNs ?? order.submittedNs;
  if (atNs === undefined) throw new Error('the update carries no time');
  const atMs = Number(atNs / 1_000_000n);
  const executionId = data.execution_id ?? undefined;
  const quantity = decimalOf(data.qty);
  const price = decimalOf(data.price);
  const isFill = data.event === 'fill' || data.event === 'partial_fill';
  const fill: FillReport | undefined =
    isFill && executionId !== undefined && quantity?.gt(0) && price?.gt(0)
      ? {
          brokerExecutionId: executionId,
          quantity,
          price,
          cumulativeQty: order.filledQty,
          atMs,
          source: 'trade_update',
        }
      : undefined;
  const identity =
    executionId !== undefined && isFill
      ? ['execution', executionId]
      : [
          'event',
          order.id,
          data.event,
          order.status,
          order.filledQty.toFixed(),
          data.timestamp ?? '',
          String(order.updatedNs ?? ''),
        ];
  const fingerprint = createHash('sha256').update(identity.join('\u001f')).digest('hex');
  return {
    event: data.event,
    order,
    atMs,
    fingerprint,
    payload,
    ...(fill ? { fill } : {}),
    ...(executionId === undefined ? {} : { executionId }),
  };
}

/** Reads one record of the topic; progress records and other accounts are ignored. */
export function readTradeUpdate(
  record: LogRecord,
  feed: { runId: string; accountLabel: string; topic: string },
): ReadUpdate {
  if (record.value === null || record.key === null) return { kind: 'ignored' };
  try {
    const envelope = envelopeSchema.parse(JSON.parse(record.value.toString('utf8')));
    if (envelope.channel !== 'trade_updates') return { kind: 'ignored' };
    const label = envelope.account_label;
    if (typeof label === 'string' && label !== '' && label !== feed.accountLabel) return { kind: 'ignored' };
    const update = parseTradeUpdate(envelope.payload);
    const { order } = update;
    const quantity = update.fill?.quantity;
    const row: OrderEvent = {
      fingerprint: update.fingerprint,
      runId: feed.runId,
      topic: feed.topic,
      partition: record.partition,
      offset: record.offset,
      accountLabel: feed.accountLabel,
      feedSeq: BigInt(envelope.seq),
      eventTsMs: update.atMs,
      symbol: order.symbol,
      brokerOrderId: order.id,
      clientOrderId: order.clientOrderId,
      eventType: update.event,
      status: order.status,
      filledQty: order.filledQty,
      raw: toJsonb(update.payload),
      ...(quantity === undefined ? {} : { quantity }),
      ...(update.fill === undefined ? {} : { price: update.fill.price }),
      ...(order.filledAvgPrice === undefined ? {} : { avgFillPrice: order.filledAvgPrice }),
      ...(update.executionId === undefined ? {} : { brokerExecutionId: update.executionId }),
    };
    return { kind: 'update', update, row };
  } catch (error) {
    return { kind: 'unreadable', why: error instanceof Error ? error.message.slice(0, 200) : String(error) };
  }
}
