/**
 * Rows of decisions, executions, strategies and catalog versions as the command line shows them: snake_case, decimals and times as text.
 */
import { formatTimestampNs, parseTimestampNs } from '../market/time.ts';
import { usageError } from '../service/errors.ts';
import type { CatalogVersion, DecisionRow, ExecutionRow, StrategyRow } from './contract.ts';

const time = (ms: number | undefined): string | null =>
  ms === undefined ? null : formatTimestampNs(BigInt(ms) * 1_000_000n);

export function decisionListing(row: DecisionRow): Record<string, unknown> {
  const { decision } = row;
  return {
    decided_at: time(row.decidedAtMs),
    symbol: decision.symbol,
    action: decision.action,
    intent: decision.intent,
    qty: decision.quantity.toFixed(),
    price: decision.price?.toFixed() ?? null,
    status: row.status,
    reasons: row.reasons.join(','),
    strategy: decision.strategyName,
    timeframe: decision.timeframe,
    event_ts: time(decision.eventTsMs),
    decision_id: decision.id,
    account_label: decision.accountLabel,
  };
}

export function executionListing(row: ExecutionRow): Record<string, unknown> {
  return {
    submitted_at: time(row.submittedAtMs),
    symbol: row.symbol,
    side: row.side,
    type: row.orderType,
    qty: row.submittedQty.toFixed(),
    filled_qty: row.filledQty.toFixed(),
    avg_fill_price: row.avgFillPrice?.toFixed() ?? null,
    status: row.state,
    broker_status: row.brokerStatus,
    late_accepted: row.isLateAccepted,
    orphan: row.isOrphan,
    client_order_id: row.clientOrderId,
    alpaca_order_id: row.brokerOrderId,
    decision_id: row.decisionId ?? null,
    account_label: row.accountLabel,
  };
}

export function strategyListing(row: StrategyRow): Record<string, unknown> {
  const meta = row.catalogMeta as { type?: string; version?: string | null } | null;
  return {
    name: row.name,
    enabled: row.enabled,
    type: meta?.type ?? null,
    version: meta?.version ?? null,
    timeframe: row.baseTimeframe,
    symbols: row.universeSymbols.join(',') || '*',
    max_notional: row.maxNotionalPerTrade?.toFixed() ?? null,
    max_position_pct: row.maxPositionPctEquity?.toFixed() ?? null,
    catalog_digest: row.catalogDigest,
  };
}

export function versionListing(row: CatalogVersion): Record<string, unknown> {
  return {
    version: row.version,
    applied_at: time(row.appliedAtMs),
    cause: row.cause,
    actor: row.actor,
    reason: row.reason ?? null,
    mode: row.mode,
    inserted: row.inserted,
    updated: row.updated,
    disabled: row.disabled,
    digest: row.digest,
  };
}

/** Options of both lists, as the command line gives them. */
export interface ListOptions {
  symbol?: string;
  status?: string;
  since?: string;
  limit: string;
}

/** @throws `list_option_invalid` (exit 2) */
export function listFilter(options: ListOptions): {
  symbol?: string;
  status?: string;
  sinceMs?: number;
  limit: number;
} {
  const bad = (what: string, next: string): never => {
    throw usageError({ code: 'list_option_invalid', what, next });
  };
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 500)
    bad('--limit must be 1 to 500', 'give a whole number in that range');
  const sinceNs = options.since === undefined ? undefined : parseTimestampNs(options.since);
  if (options.since !== undefined && sinceNs === undefined)
    bad('--since is no time', 'write it as 2013-10-08T13:30:00Z');
  return {
    limit,
    ...(options.symbol === undefined ? {} : { symbol: options.symbol.toUpperCase() }),
    ...(options.status === undefined ? {} : { status: options.status }),
    ...(sinceNs === undefined ? {} : { sinceMs: Number(sinceNs / 1_000_000n) }),
  };
}
