/**
 * The end phase: no new decisions, nothing planned, no open order, no unknown claim, and a reconcile pass that changes
 * nothing. Goes on until it is so; who called decides how long to wait.
 */
import type { OrderDesk } from '../../lib/orders/contract.ts';
import { describeError } from '../../lib/service/errors.ts';
import type { Logger } from '../../lib/service/logging.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { TradingCycle } from '../../lib/trading/cycle.ts';
import { endsCycle } from '../../lib/trading/process.ts';

export interface DrainOptions {
  desk: OrderDesk;
  cycle: TradingCycle;
  log: Logger;
  signal: AbortSignal;
  /** After each round. */
  onStep(): void;
}

const ROUND_MS = 100;

/** @throws errors that end the session; the next session drains anew */
export async function drainOrders({ desk, cycle, log, signal, onStep }: DrainOptions): Promise<void> {
  desk.beginDrain();
  let isRecovered = false;
  while (!signal.aborted) {
    try {
      // The cursor of the ledger, also when this session never ran a cycle.
      if (!isRecovered) await cycle.recover();
      isRecovered = true;
      await cycle.drain();
      if (desk.status().openOrders > 0) await desk.cancelOpenOrders('drain');
      const pass = await desk.reconcile();
      onStep();
      if (pass.changes === 0 && pass.openOrders === 0 && pass.unknownClaims === 0) return;
    } catch (error) {
      if (!endsCycle(error)) throw error;
      log.warn({ err: describeError(error) }, 'draining goes on');
      onStep();
    }
    await sleep(ROUND_MS, signal);
  }
}
