/**
 * A trading process in small: decides a fixed list, submits, follows, cancels, reconciles until nothing changes, ends with 0.
 * Started again after a kill it goes on where the ledger says. `trader.ts` submits through the desk, `wrong-trader.ts` does
 * what must never be done.
 */
import { createHash } from 'node:crypto';
import { toJsonb } from '../../../src/lib/ledger/jsonb.ts';
import { openEmbeddedLog } from '../../../src/lib/log/embedded/event-log.ts';
import type { ApprovedOrder } from '../../../src/lib/risk/order.ts';
import { machineMs, sleep } from '../../../src/lib/service/machine.ts';
import { addStrategy, approve, decisionOf, sessionMs, testClock } from '../../ledger/support/fixtures.ts';
import { openTestDesk, type TestDesk } from './desk.ts';

export interface TraderArguments {
  dsn: string;
  brokerUrl: string;
  home: string;
  symbols: string[];
  /** Machine ms that the end of the list may take to become quiet. */
  limitMs?: number;
}

/** Runs to the end of the list. @param submit how one approved order reaches the broker */
export async function trade(
  options: TraderArguments,
  submit: (test: TestDesk, order: ApprovedOrder) => Promise<unknown>,
): Promise<void> {
  const clock = testClock();
  const log = openEmbeddedLog({ home: options.home, clock });
  const feed = { eventLog: log, topic: 'torghut.trade-updates.v2', runId: 'run-1', batchSize: 3 };
  const test = await openTestDesk({
    dsn: options.dsn,
    brokerUrl: options.brokerUrl,
    clock,
    feed,
    submitLookupMs: 500,
    postTimeoutMs: 200,
  });
  const { ledger, leadership, desk } = test;
  const strategyId = await addStrategy(ledger, leadership);

  await ledger.write(leadership, async (tx) => {
    for (const [index, symbol] of options.symbols.entries()) {
      const hex = createHash('sha256').update(`${index} ${symbol}`).digest('hex');
      const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
      const decision = decisionOf(strategyId, { id, hash: hex, symbol });
      await tx.decisions.insert({ decision, decidedAtMs: sessionMs, detail: toJsonb({ index }) });
    }
  });

  await desk.recover();
  const stop = new AbortController();
  const running = desk.run(stop.signal);
  for (const row of await ledger.read.decisions.unresolved('paper')) await submit(test, approve(row.decision));
  // Orders of unknown outcome first: what is not known cannot be cancelled.
  const until = machineMs() + (options.limitMs ?? 20_000);
  const hasUnknown = async () => (await ledger.read.orders.counts('paper')).unknownClaims > 0;
  while (machineMs() < until && (await hasUnknown())) await sleep(20);
  await desk.cancelOpenOrders('end of the test');
  for (let quiet = 0; quiet < 2 && machineMs() < until; ) {
    const pass = await desk.reconcile();
    quiet = pass.changes === 0 && pass.unknownClaims === 0 && pass.openOrders === 0 ? quiet + 1 : 0;
  }
  stop.abort();
  await running;
  await leadership.release();
  await ledger.close();
  await log.close();
}
