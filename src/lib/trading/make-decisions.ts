/**
 * From the wishes of a batch to its decisions, with the facts that risk #1 judges them by.
 * Guarantee: one wish that cannot be turned into a decision does not hold up the others.
 */
import type { Ledger } from '../ledger/contract.ts';
import { describeError } from '../service/errors.ts';
import type { Logger } from '../service/logging.ts';
import type { BatchFacts } from './batch.ts';
import type { Book } from './book.ts';
import type { CatalogKeeper } from './catalog-keeper.ts';
import { type CycleCounters, count } from './counters.ts';
import { hasNothingToReduce, type MadeDecision, makeDecision } from './decide.ts';
import type { Plan } from './plan.ts';
import type { SignalSource } from './ports.ts';
import type { TradingSettings } from './settings.ts';

export interface DecisionPorts {
  settings: TradingSettings;
  clock: { nowMs(): number };
  log: Logger;
  ledger: Ledger;
  signals: SignalSource;
  catalog: CatalogKeeper;
  counters: CycleCounters;
}

/** @throws errors of the signal store and the ledger that may pass */
export async function makeDecisions(
  plan: Plan,
  book: Book,
  ports: DecisionPorts,
): Promise<{ decisions: MadeDecision[]; facts: BatchFacts }> {
  const { settings, clock, log, signals, catalog, counters } = ports;
  const symbols = [...new Set(plan.wishes.map(({ row }) => row.symbol))];
  const prices = await signals.newestPrices(symbols, clock.nowMs(), settings.priceLookbackMinutes * 60_000);
  const context = { settings, book, prices, strategyIds: catalog.strategyIds };
  const decisions: MadeDecision[] = [];
  for (const { row, wish } of plan.wishes) {
    if (hasNothingToReduce(row.symbol, wish, book)) continue;
    try {
      const made = makeDecision(row, wish, context);
      count(counters.sizings, made.sizing.source);
      decisions.push(made);
    } catch (error) {
      count(counters.strategyErrors, wish.entry.name);
      log.error({ strategy: wish.entry.name, symbol: row.symbol, err: describeError(error) }, 'a wish failed');
    }
  }
  return { decisions, facts: { book, prices, entryTimes: await newestEntries(decisions, ports) } };
}

/** Newest entries before this batch, by `strategyId symbol`. */
async function newestEntries(
  made: readonly MadeDecision[],
  { settings, ledger }: DecisionPorts,
): Promise<Map<string, number>> {
  const { accountLabel } = settings;
  const times = new Map<string, number>();
  const scopes = new Map(made.map(({ decision }) => [`${decision.strategyId} ${decision.symbol}`, decision]));
  const read = [...scopes].map(async ([scope, { strategyId, symbol }]) => {
    const atMs = await ledger.read.decisions.newestEntryAtMs({ accountLabel, strategyId, symbol });
    if (atMs !== undefined) times.set(scope, atMs);
  });
  await Promise.all(read);
  return times;
}
