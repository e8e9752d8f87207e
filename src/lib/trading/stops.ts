/**
 * Account-level stops (spec trading 3.3). First form: the daily loss stop. A triggered stop is latched in trading_controls,
 * so that no restart clears it; an operator releases it.
 */
import type { Decimal } from 'decimal.js';
import type { LedgerReads, LedgerTransaction, TradingControls } from '../ledger/contract.ts';
import { newYorkInstant, newYorkTime } from '../market/calendar.ts';

const NS_PER_MS = 1_000_000n;

/** Market ms of the New York midnight before an instant: a day's first snapshot is looked for from here. */
export function dayStartMs(nowMs: number): number {
  return Number(newYorkInstant(newYorkTime(BigInt(nowMs) * NS_PER_MS).date, 0) / NS_PER_MS);
}

/** Reason of the stop that this equity triggers; undefined when none. */
export function dailyLossReason(first: Decimal, equity: Decimal, limitPct: Decimal): string | undefined {
  if (first.lte(0)) return undefined;
  const loss = first.minus(equity).div(first);
  return loss.gte(limitPct) ? `daily_loss_stop:${loss.toFixed(4)}` : undefined;
}

export interface StopCheck {
  accountLabel: string;
  nowMs: number;
  equity: Decimal;
  limitPct: Decimal | undefined;
  controls: TradingControls;
}

/** The reason to latch now, undefined when nothing is to do. */
export async function findStop(check: StopCheck, ledger: LedgerReads): Promise<string | undefined> {
  const { accountLabel, nowMs, equity, limitPct, controls } = check;
  if (limitPct === undefined || controls.emergencyStopReason !== undefined) return undefined;
  const first = await ledger.account.firstSnapshotSince(accountLabel, dayStartMs(nowMs));
  return first && dailyLossReason(first.equity, equity, limitPct);
}

/** Latches a stop. */
export async function latchStop(tx: LedgerTransaction, accountLabel: string, reason: string, atMs: number) {
  await tx.account.setControls(accountLabel, { emergencyStopReason: reason }, { reason, actor: 'trade', atMs });
}
