/**
 * `trade stop --flatten` (spec 10.2): every position closed by reduce-only orders, through the firewall, with no strategy and
 * no reviewer. The running loop works the request off; without one this command leads the account and does it itself.
 * Guarantees: exactly the positions of the plan that was agreed to; nothing while the market is closed; what is left is said.
 */
import type { Decimal } from 'decimal.js';
import type { FlattenRequest } from '../../lib/ledger/flatten.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import { type Check, planIdOf } from '../../lib/runbook/plan.ts';
import { flattenCheckIds } from '../../lib/runbook/trade-controls.ts';
import { createLogger } from '../../lib/service/logging.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { brokerHours, brokerView } from '../../lib/trading/broker-view.ts';
import { FLATTEN_LIFE_MS, flattener } from '../../lib/trading/flatten.ts';
import { sessionGate } from '../../lib/trading/session.ts';
import type { ChangeOptions } from './operate.ts';
import type { Operator } from './operator.ts';

export interface FlattenPlan {
  id: string;
  steps: readonly string[];
  targets: readonly { symbol: string; quantity: Decimal }[];
  isMarketOpen: boolean;
}

/** Machine ms between two looks at what is left. */
const ROUND_MS = 250;

const [marketCheck, flatCheck] = flattenCheckIds;

/** What is held now, and the orders that would close it. @throws broker errors */
export async function planFlatten(operator: Operator): Promise<FlattenPlan> {
  const { accountLabel, clock } = operator;
  const held = (await operator.broker().positions()).filter(({ quantity }) => !quantity.isZero());
  const targets = held
    .map(({ symbol, quantity }) => ({ symbol, quantity }))
    .sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
  const session = await sessionGate(clock, brokerHours(operator.broker())).state();
  return {
    id: planIdOf({ action: 'flatten', accountLabel, held: targets.map((one) => `${one.symbol} ${one.quantity}`) }),
    steps: targets.map(
      ({ symbol, quantity }) => `${quantity.gt(0) ? 'sell' : 'buy'} ${quantity.abs().toFixed()} ${symbol} at market`,
    ),
    targets,
    isMarketOpen: session.state === 'open',
  };
}

/** Closes what the plan holds, once it is agreed to. */
export async function flatten(
  operator: Operator,
  plan: FlattenPlan,
  confirm: string | undefined,
  options: ChangeOptions,
): Promise<Check[]> {
  const market: Check = {
    id: marketCheck,
    signal: 'the regular session is open: an order of now closes now',
    value: plan.isMarketOpen ? 'open' : 'closed',
    verdict: plan.isMarketOpen ? 'ok' : 'problem',
  };
  if (plan.targets.length === 0) return [market, flatCheckOf([])];
  // Read-only until agreed to; and a closed market is no reason to ask.
  if (!plan.isMarketOpen) return [market, flatCheckOf(plan.targets.map(({ symbol }) => symbol))];
  const isAgreed = await askConsent({
    what: `close ${plan.targets.length} positions at market`,
    planId: plan.id,
    confirm,
    yes: options.yes,
    dryRun: options.dryRun,
    isDestructive: true,
  });
  if (!isAgreed) return [market];
  const { accountLabel, clock, control } = operator;
  const requestedAtMs = clock.nowMs();
  const life = { requestedAtMs, expiresAtMs: requestedAtMs + FLATTEN_LIFE_MS };
  const { reason, actor } = options;
  const { targets } = plan;
  const id = await control.requestFlatten({ accountLabel, cause: 'operator', targets, reason, actor, ...life });
  if (id === undefined) options.tell('a request to close positions is being worked off already: this waits for it');
  const leader = await control.leader(accountLabel);
  const until = machineMs() + options.timeoutMs;
  if (leader?.isLive) await untilEnded(operator, until);
  else await workOff(operator, until);
  const left = (await operator.broker().positions()).filter(
    (held) => !held.quantity.isZero() && targets.some(({ symbol }) => symbol === held.symbol),
  );
  return [market, flatCheckOf(left.map(({ symbol, quantity }) => `${symbol} ${quantity.toFixed()}`))];
}

function flatCheckOf(left: readonly string[]): Check {
  const isFlat = left.length === 0;
  const value = isFlat ? 'nothing is held' : `still held: ${left.join(', ')}`;
  return { id: flatCheck, signal: 'no position of the plan is left', value, verdict: isFlat ? 'ok' : 'problem' };
}

/** The running loop works it off, one step in each of its cycles. */
async function untilEnded(operator: Operator, untilMachineMs: number): Promise<void> {
  while (machineMs() < untilMachineMs) {
    if ((await operator.control.flatten.active(operator.accountLabel)) === undefined) return;
    await sleep(ROUND_MS);
  }
}

/** Leads the account, with every other order held, until nothing of the request is left. */
async function workOff(operator: Operator, untilMachineMs: number): Promise<FlattenRequest | undefined> {
  const { accountLabel, runId, clock, ledger } = operator;
  const reads = operator.broker();
  const held = await operator.holdDesk();
  try {
    await held.desk.recover();
    const { desk, leadership } = held;
    const settings = { accountLabel, runId };
    const broker = brokerView(reads, clock);
    const work = flattener({ settings, clock, log: createLogger('trade'), ledger, leadership, desk, broker });
    const gate = sessionGate(clock, brokerHours(reads));
    while (machineMs() < untilMachineMs) {
      const session = await gate.state();
      const step = await work.step({ session: session.state, isStopped: true });
      await desk.reconcile();
      if (step === undefined || step.ended !== undefined) break;
      await sleep(ROUND_MS);
    }
    return work.active;
  } finally {
    await held.close();
  }
}
