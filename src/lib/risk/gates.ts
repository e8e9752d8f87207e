/**
 * The gates of risk in the order of spec trading 3.1 with the corrections of 3.2. Each is a pure function that returns the
 * reasons why it refuses; all are asked, reasons accumulate, approved means none. `entriesOnly` gates do not hold a closing
 * order: what has been removed from a list, or is over a limit, must still be closable.
 */
import { exposureGates } from './exposure-gates.ts';
import { entryGate, type Gate, gate, isAmount, when } from './gate.ts';
import { buyingPowerNeed, pendingQuantity, projectedPosition, reduces, usableBuyingPower } from './projection.ts';
import { quantityStep, roundToStep } from './sizing.ts';

const isCrypto = (symbol: string) => symbol.includes('/');

const priceGate = gate('price', ({ price, snapshot, limits }) => {
  if (price === undefined) return ['missing_price'];
  const newest = snapshot.price;
  const isStale = newest !== undefined && snapshot.nowMs - newest.asOfMs > limits.maxPriceAgeSeconds * 1000;
  return when(newest === undefined || isStale, 'stale_price');
});

const maxNotionalGate = entryGate('max_notional', ({ terms, price, limits }) => {
  const limit = limits.maxNotionalPerTrade;
  if (limit === undefined || price === undefined) return [];
  return when(terms.quantity.times(price).gt(limit), 'max_notional_exceeded');
});

const accountGate = entryGate('account_state', ({ snapshot }) => {
  const { account, position } = snapshot;
  const isKnown = isAmount(account?.equity) && isAmount(account?.buyingPower) && position?.isFinite() === true;
  return when(!isKnown, 'account_state_unavailable');
});

const buyingPowerGate = entryGate('buying_power', ({ terms, price, snapshot, limits }) => {
  const power = snapshot.account?.buyingPower;
  if (price === undefined || !isAmount(power)) return [];
  const usable = usableBuyingPower(power, snapshot.pending, limits.buyingPowerReserveBps);
  return when(buyingPowerNeed(terms, price).gt(usable), 'insufficient_buying_power');
});

const positionGate = entryGate('position_pct', ({ terms, price, snapshot, limits }) => {
  const { account, position, pending } = snapshot;
  const pct = limits.maxPositionPctEquity;
  if (pct === undefined || price === undefined || !isAmount(account?.equity) || position === undefined) return [];
  const value = projectedPosition(terms, position, pending).times(price);
  return when(value.gt(account.equity.times(pct)), 'max_position_pct_exceeded');
});

const shortGate = gate('shorts', ({ terms, isClosing, snapshot, limits }) => {
  if (terms.side !== 'sell' || isClosing) return [];
  if (!limits.allowShorts) return ['shorts_not_allowed'];
  const reasons: string[] = [];
  if (snapshot.account?.shortingEnabled === false) reasons.push('local_account_shorting_disabled');
  const { asset } = snapshot;
  if (asset === undefined) return [...reasons, ...when(limits.mode === 'live', 'shorting_metadata_unavailable')];
  if (!asset.isShortable) reasons.push('local_symbol_not_shortable');
  else if (!asset.isEasyToBorrow) reasons.push('local_symbol_not_easy_to_borrow');
  return reasons;
});

const cooldownGate = entryGate('cooldown', ({ snapshot, limits }) => {
  const { lastEntryAtMs, nowMs } = snapshot;
  if (limits.cooldownSeconds <= 0 || lastEntryAtMs === undefined) return [];
  return when(nowMs - lastEntryAtMs < limits.cooldownSeconds * 1000, 'cooldown_active');
});

const quantityGate = gate('quantity', ({ terms, limits, snapshot }) => {
  const { quantity, symbol } = terms;
  if (!quantity.isFinite() || quantity.lte(0)) return ['local_qty_non_positive'];
  const isFractionable = limits.allowFractional && snapshot.asset?.isFractionable !== false;
  const step = quantityStep(symbol, isFractionable);
  if (quantity.lt(step)) return ['local_qty_below_min'];
  return when(!roundToStep(quantity, step).eq(quantity), 'local_qty_invalid_increment');
});

const minNotionalGate = entryGate('min_notional', ({ terms, price, limits }) => {
  const min = limits.minNotionalPerTrade;
  return when(min !== undefined && price !== undefined && terms.quantity.times(price).lt(min), 'min_notional_not_met');
});

/** Alpaca refuses an order that could trade against our own open one (wash trade). */
const oppositeGate = gate('opposite_side', ({ terms, snapshot }) => {
  const opposite = snapshot.pending.some(
    (order) =>
      order.symbol === terms.symbol && order.side !== terms.side && order.type !== 'limit' && order.remaining.gt(0),
  );
  return when(opposite, 'precheck_opposite_side_open_order');
});

/** An entry must raise |position|, an exit must have something left to close: what was wished may have changed since. */
const intentGate = gate('intent', ({ decision, terms, isClosing, snapshot }) => {
  const { position, pending } = snapshot;
  if (position === undefined) return when(decision.intent === 'exit', 'account_state_unavailable');
  if (decision.intent === 'entry') return when(reduces(terms.side, position), 'position_changed');
  if (isClosing) return [];
  const reserved = pendingQuantity(pending, terms.symbol, terms.side);
  return [reserved.gt(0) && reduces(terms.side, position) ? 'sell_inventory_conflict' : 'position_already_closed'];
});

const driftGate = gate('price_drift', ({ decision, snapshot, stage, limits }) => {
  const newest = snapshot.price?.price;
  if (stage === 1 || newest === undefined || decision.price === undefined || decision.price.lte(0)) return [];
  const drift = newest.minus(decision.price).abs().div(decision.price).times(10_000);
  return when(drift.gt(limits.maxPriceDriftBps), 'price_moved');
});

const ageGate = gate('decision_age', ({ decision, snapshot, limits }) =>
  when(snapshot.nowMs - decision.eventTsMs > limits.maxDecisionAgeSeconds * 1000, 'decision_too_old'),
);

/** In the order in which reasons are reported. */
export const gates: readonly Gate[] = [
  gate('master_enable', ({ snapshot }) => when(!snapshot.switches.tradingEnabled, 'trading_disabled')),
  gate('crypto', ({ terms, limits }) => {
    if (!isCrypto(terms.symbol)) return [];
    if (!limits.allowCrypto) return ['crypto_trading_disabled'];
    return when(limits.mode === 'live' && !limits.allowCryptoLive, 'crypto_live_trading_disabled');
  }),
  entryGate('strategy_enabled', ({ limits }) => when(!limits.strategyEnabled, 'strategy_disabled')),
  entryGate('catalog', ({ snapshot }) => when(snapshot.switches.catalogInvalid, 'strategy_catalog_invalid')),
  // Signals and prices may stop any moment (spec ta 5.2): what is held may still be closed.
  entryGate('signal_store', ({ snapshot }) =>
    when((snapshot.switches.storeEmergency ?? null) !== null, 'signal_store_emergency'),
  ),
  entryGate('allowlist', ({ terms, limits }) => {
    const { strategySymbols, universe } = limits;
    const isListed = strategySymbols.length === 0 || strategySymbols.includes(terms.symbol);
    const isInUniverse = universe === 'all' || universe.includes(terms.symbol);
    return when(!isListed || !isInUniverse, 'symbol_not_allowed');
  }),
  priceGate,
  maxNotionalGate,
  accountGate,
  buyingPowerGate,
  positionGate,
  ...exposureGates,
  shortGate,
  cooldownGate,
  gate('kill_switch', ({ snapshot }) => when(snapshot.switches.killSwitch, 'kill_switch_enabled')),
  gate('pause', ({ snapshot }) => when(snapshot.switches.paused, 'trading_paused')),
  gate('emergency_stop', ({ snapshot }) => when(snapshot.switches.emergencyStop !== null, 'emergency_stop_active')),
  // One code says that live trading is not open, the others why (spec 3.4).
  gate('live', ({ snapshot }) => {
    const holds = snapshot.switches.liveHolds ?? [];
    return holds.length === 0 ? [] : ['capital_stage_shadow', ...holds];
  }),
  entryGate('entry_holds', ({ snapshot }) => snapshot.switches.entryHolds ?? []),
  gate('account_restricted', ({ snapshot }) => when(snapshot.account?.isRestricted === true, 'account_restricted')),
  gate('session', ({ snapshot, limits }) =>
    when(snapshot.session === 'closed' || (snapshot.session === 'unknown' && limits.mode === 'live'), 'market_closed'),
  ),
  gate('asset', ({ snapshot }) => when(snapshot.asset?.isTradable === false, 'local_symbol_not_tradable')),
  quantityGate,
  minNotionalGate,
  oppositeGate,
  intentGate,
  driftGate,
  ageGate,
];

/** Reasons that come from a switch: the decision is `blocked`, not `rejected` (spec 1.8). */
const blocking: ReadonlySet<string> = new Set([
  'trading_disabled',
  'kill_switch_enabled',
  'trading_paused',
  'emergency_stop_active',
  'market_closed',
  'capital_stage_shadow',
  'new_exposure_cutoff_active',
  'universe_fail_safe_blocked',
  'reconcile_stale',
  'pattern_day_trader_protection',
  'foreign_order_open',
]);

/** Does a switch hold this order (blocked), or did a limit refuse it (rejected)? */
export function isBlocked(reasons: readonly string[]): boolean {
  return reasons.some((reason) => blocking.has(reason));
}
