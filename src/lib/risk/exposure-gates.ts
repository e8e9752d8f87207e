/**
 * The account-wide caps on what may be opened (spec trading 2.4, 3.1, 3.3): on top of the limits of a strategy, whatever it
 * is. A cap of 0 allows nothing; an absent one is none. What is held or pending without a known price makes the account
 * unknown, and refuses.
 */
import type { Decimal } from 'decimal.js';
import { entryGate, type Gate, type GateInput, isAmount, when } from './gate.ts';
import { projectExposure, projectedPosition } from './projection.ts';

/** Is `value` over the fraction of equity? Unknown equity is the account gate's reason. */
function isOver(value: Decimal, fraction: Decimal | undefined, { snapshot }: GateInput): boolean {
  const equity = snapshot.account?.equity;
  return fraction !== undefined && isAmount(equity) && value.gt(equity.times(fraction));
}

const orderGate = entryGate('order_pct', (input) => {
  const { terms, price, limits } = input;
  if (price === undefined) return [];
  return when(isOver(terms.quantity.times(price), limits.maxOrderPctEquity, input), 'order_exposure_exceeded');
});

const symbolGate = entryGate('symbol_pct', (input) => {
  const { terms, price, limits, snapshot } = input;
  if (price === undefined || snapshot.position === undefined) return [];
  const value = projectedPosition(terms, snapshot.position, snapshot.pending).times(price);
  return when(isOver(value, limits.maxSymbolPctEquity, input), 'symbol_capacity_exhausted');
});

const portfolioGate = entryGate('portfolio', (input) => {
  const { terms, price, limits, snapshot } = input;
  const { maxGrossPctEquity, maxNetPctEquity, maxPositions } = limits;
  const isCapped = maxGrossPctEquity !== undefined || maxNetPctEquity !== undefined || maxPositions !== undefined;
  // An account or a position that is not known at all is named by its own gate.
  if (!isCapped || price === undefined || !snapshot.account || !snapshot.position) return [];
  const exposure = snapshot.holdings && projectExposure(terms, price, snapshot.holdings, snapshot.pending);
  if (!exposure) return ['account_state_unavailable'];
  const { gross, netBefore, netAfter, symbols } = exposure;
  return [
    ...when(isOver(gross, maxGrossPctEquity, input), 'gross_exposure_exceeded'),
    // An entry against the net may always be made: it brings the account nearer to its cap.
    ...when(netAfter.gt(netBefore) && isOver(netAfter, maxNetPctEquity, input), 'net_exposure_exceeded'),
    ...when(maxPositions !== undefined && symbols.size > maxPositions, 'max_positions_exceeded'),
  ];
});

const participationGate = entryGate('participation', ({ terms, snapshot, limits }) => {
  const volume = snapshot.price?.recentVolume;
  const rate = limits.maxParticipationRate;
  if (rate === undefined || volume === undefined) return [];
  return when(terms.quantity.gt(volume.times(rate)), 'participation_exceeds_max');
});

export const exposureGates: readonly Gate[] = [orderGate, symbolGate, portfolioGate, participationGate];
