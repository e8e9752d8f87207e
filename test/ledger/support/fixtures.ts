/** Decisions, approved orders, strategies of the tests; a clock that stands where the test puts it. */
import { createHash, randomUUID } from 'node:crypto';
import { Decimal } from 'decimal.js';
import type { Leadership } from '../../../src/lib/ledger/contract.ts';
import { toJsonb } from '../../../src/lib/ledger/jsonb.ts';
import type { OrderLedger } from '../../../src/lib/ledger/open.ts';
import { approve as approveByRisk } from '../../../src/lib/risk/approved.ts';
import type { ApprovedOrder, Decision } from '../../../src/lib/risk/order.ts';
import type { Clock } from '../../../src/lib/service/clock.ts';
import { sleep } from '../../../src/lib/service/machine.ts';

/** 2013-10-08 14:00:00 UTC: inside a session, far from today. */
export const sessionMs = Date.UTC(2013, 9, 8, 14, 0, 0);

export interface TestClock extends Clock {
  set(ms: number): void;
  advance(ms: number): void;
}

export function testClock(startMs = sessionMs): TestClock {
  let now = startMs;
  return {
    kind: 'virtual',
    nowMs: () => now,
    nowNs: () => BigInt(now) * 1_000_000n,
    sleepUntil: async (instantNs, signal) => {
      while (BigInt(now) * 1_000_000n < instantNs && !signal?.aborted) await sleep(5, signal);
    },
    set: (ms) => {
      now = ms;
    },
    advance: (ms) => {
      now += ms;
    },
  };
}

export async function addStrategy(
  ledger: OrderLedger,
  leadership: Leadership,
  name = 'macd-rsi-default',
): Promise<string> {
  const applied = await ledger.write(leadership, (tx) =>
    tx.strategies.applyCatalog({
      entries: [
        {
          name,
          enabled: true,
          baseTimeframe: '1Sec',
          universeType: 'static',
          universeSymbols: ['IBM'],
          catalogMeta: toJsonb({ version: '1' }),
        },
      ],
      digest: createHash('sha256').update(name).digest('hex'),
      mode: 'merge',
      actor: 'test',
    }),
  );
  const row = applied.rows.find((found) => found.name === name);
  if (!row) throw new Error('the strategy was not stored');
  return row.id;
}

export function decisionOf(strategyId: string, change: Partial<Decision> = {}): Decision {
  const id = change.id ?? randomUUID();
  return {
    id,
    accountLabel: 'paper',
    strategyId,
    strategyName: 'macd-rsi-default',
    symbol: 'IBM',
    timeframe: '1Sec',
    eventTsMs: sessionMs,
    action: 'buy',
    intent: 'entry',
    quantity: new Decimal(10),
    orderType: 'market',
    timeInForce: 'day',
    price: new Decimal('185.25'),
    rationale: 'test',
    signal: {
      runId: 'run-1',
      symbol: 'IBM',
      windowSize: 'PT1S',
      eventTsMs: sessionMs,
      revision: 0,
      sourcePartition: 0,
      sourceOffset: 1n,
    },
    hash: createHash('sha256').update(id).digest('hex'),
    ...change,
  };
}

/** Stores a decision as planned and returns it approved. The brand is lib/risk's: tests of the desk stand in for it. */
export async function approvedOrder(
  ledger: OrderLedger,
  leadership: Leadership,
  decision: Decision,
  nowMs = sessionMs,
): Promise<ApprovedOrder> {
  await ledger.write(leadership, (tx) =>
    tx.decisions.insert({ decision, decidedAtMs: nowMs, detail: toJsonb({ made_by: 'test' }) }),
  );
  return approve(decision, nowMs);
}

export function approve(decision: Decision, nowMs = sessionMs): ApprovedOrder {
  const { limitPrice, stopPrice } = decision;
  return approveByRisk(
    decision,
    {
      symbol: decision.symbol,
      side: decision.action,
      quantity: decision.quantity,
      type: decision.orderType,
      timeInForce: decision.timeInForce,
      ...(limitPrice ? { limitPrice } : {}),
      ...(stopPrice ? { stopPrice } : {}),
    },
    nowMs,
  );
}
