import { describe, expect, it } from 'vitest';
import { isApprovedOrder } from '../../src/lib/risk/approved.ts';
import { evaluateRisk, screenDecision } from '../../src/lib/risk/evaluate.ts';
import { gates, isBlocked } from '../../src/lib/risk/gates.ts';
import type { Decision } from '../../src/lib/risk/order.ts';
import type { RiskLimits, RiskSnapshot } from '../../src/lib/risk/snapshot.ts';
import { dec, decision, limits, nowMs, snapshot } from './fixtures.ts';

interface Change {
  d?: Partial<Decision>;
  s?: Partial<RiskSnapshot>;
  l?: Partial<RiskLimits>;
}

const reasonsOf = ({ d = {}, s = {}, l = {} }: Change): readonly string[] => {
  const result = evaluateRisk(decision(d), snapshot(s), limits(l));
  return result.ok ? [] : result.refusal.reasons;
};
const switches = (change: Partial<RiskSnapshot['switches']>) => ({
  s: { switches: { ...snapshot().switches, ...change } },
});
const account = (change: Partial<NonNullable<RiskSnapshot['account']>>): Change => ({
  s: { account: { ...(snapshot().account as NonNullable<RiskSnapshot['account']>), ...change } },
});
const pending = (side: 'buy' | 'sell', remaining: number, symbol = 'IBM') => ({
  symbol,
  side,
  remaining: dec(remaining),
  type: 'market' as const,
  price: dec(100),
});
const held = (symbol: string, quantity: number, price: number) => ({
  symbol,
  quantity: dec(quantity),
  price: dec(price),
});
const sell: Change = { d: { action: 'sell' } };
const exit = { action: 'sell' as const, intent: 'exit' as const };
const assetOf = (change: Partial<NonNullable<RiskSnapshot['asset']>>): Change => ({
  ...sell,
  s: { asset: { ...(snapshot().asset as NonNullable<RiskSnapshot['asset']>), ...change } },
  l: { allowShorts: true },
});

/** Gate by gate: what triggers exactly this reason. */
const refusals: [string, string, Change][] = [
  ['trading_disabled', 'the master switch is off', switches({ tradingEnabled: false })],
  ['crypto_trading_disabled', 'a pair', { d: { symbol: 'BTC/USD' }, l: { universe: 'all' } }],
  ['strategy_disabled', 'a disabled strategy', { l: { strategyEnabled: false } }],
  ['strategy_catalog_invalid', 'a catalog that stays broken', switches({ catalogInvalid: true })],
  ['signal_store_emergency', 'a signal store that is nearly full', switches({ storeEmergency: 'free 3 %' })],
  ['symbol_not_allowed', 'a symbol that the strategy does not name', { l: { strategySymbols: ['AIG'] } }],
  ['symbol_not_allowed', 'a symbol outside the universe', { l: { universe: ['AIG'] } }],
  ['symbol_not_allowed', 'an empty universe', { l: { universe: [] } }],
  ['missing_price', 'no price at all', { s: { price: undefined } }],
  ['stale_price', 'an old price', { s: { price: { price: dec(100), asOfMs: nowMs - 60_001 } } }],
  ['max_notional_exceeded', 'one cent over the limit', { l: { maxNotionalPerTrade: dec('999.99') } }],
  ['max_notional_exceeded', 'a limit of 0', { l: { maxNotionalPerTrade: dec(0) } }],
  ['account_state_unavailable', 'no account', { s: { account: undefined } }],
  ['account_state_unavailable', 'negative equity', account({ equity: dec(-1) })],
  ['account_state_unavailable', 'buying power that is no number', account({ buyingPower: dec(Number.NaN) })],
  ['account_state_unavailable', 'an unknown position', { s: { position: undefined } }],
  ['insufficient_buying_power', 'a need above what is left after the reserve', account({ buyingPower: dec('1155.55') })],
  [
    'insufficient_buying_power',
    'money that the broker does not count yet',
    { s: { pending: [{ ...pending('buy', 1, 'AIG'), unseenCost: dec(179_000) }] } },
  ],
  ['max_position_pct_exceeded', 'a position that would grow over it', { s: { position: dec(41) } }],
  ['max_position_pct_exceeded', 'pending buys that count', { s: { pending: [pending('buy', 41)] } }],
  ['max_position_pct_exceeded', 'a limit of 0', { l: { maxPositionPctEquity: dec(0) } }],
  ['order_exposure_exceeded', 'one order over its part of equity', { l: { maxOrderPctEquity: dec('0.0099') } }],
  ['symbol_capacity_exhausted', 'a symbol over its part of equity', { s: { position: dec(41) }, l: { maxPositionPctEquity: undefined, maxSymbolPctEquity: dec('0.05') } }],
  ['gross_exposure_exceeded', 'the sum of long and short', { s: { holdings: [held('AIG', -500, 200)] }, l: { maxNetPctEquity: undefined } }],
  ['net_exposure_exceeded', 'long beyond the net cap', { s: { holdings: [held('AIG', 245, 200)] }, l: { maxNetPctEquity: dec('0.49') } }],
  ['gross_exposure_exceeded', 'a cap of 0', { l: { maxGrossPctEquity: dec(0) } }],
  ['account_state_unavailable', 'something held without a price', { s: { holdings: [{ symbol: 'AIG', quantity: dec(1), price: undefined }] } }],
  ['account_state_unavailable', 'positions that the broker does not tell', { s: { holdings: undefined } }],
  ['max_positions_exceeded', 'one symbol too many', { s: { holdings: [held('AIG', 1, 10)] }, l: { maxPositions: 1 } }],
  ['participation_exceeds_max', 'more than its part of the volume', { s: { price: { price: dec(100), asOfMs: nowMs - 1_000, recentVolume: dec(99) } } }],
  ['crypto_live_trading_disabled', 'a pair on a live account', { d: { symbol: 'BTC/USD' }, l: { universe: 'all', allowCrypto: true, mode: 'live' } }],
  ['new_exposure_cutoff_active', 'a hold of entries', switches({ entryHolds: ['new_exposure_cutoff_active'] })],
  ['shorts_not_allowed', 'a sale from flat', sell],
  ['local_account_shorting_disabled', 'the account may not', { ...account({ shortingEnabled: false }), ...sell, l: { allowShorts: true } }],
  ['local_symbol_not_shortable', 'the asset may not', assetOf({ isShortable: false })],
  ['local_symbol_not_easy_to_borrow', 'hard to borrow', assetOf({ isEasyToBorrow: false })],
  ['shorting_metadata_unavailable', 'live without knowing', { ...sell, s: { asset: undefined }, l: { allowShorts: true, mode: 'live' } }],
  ['cooldown_active', 'the last entry is younger', { s: { lastEntryAtMs: nowMs - 4_999 } }],
  ['kill_switch_enabled', 'the kill switch', switches({ killSwitch: true })],
  ['trading_paused', 'a pause', switches({ paused: true })],
  ['emergency_stop_active', 'a latched stop', switches({ emergencyStop: 'daily_loss' })],
  ['account_restricted', 'a blocked account', account({ isRestricted: true })],
  ['market_closed', 'outside the session', { s: { session: 'closed' } }],
  ['market_closed', 'an unknown session in live', { s: { session: 'unknown' }, l: { mode: 'live' } }],
  ['local_symbol_not_tradable', 'an asset that is not tradable', { s: { asset: { isTradable: false, isShortable: true, isEasyToBorrow: true, isFractionable: true } } }],
  ['local_qty_non_positive', 'quantity 0', { d: { quantity: dec(0) } }],
  ['local_qty_below_min', 'half a share where only whole ones are traded', { d: { quantity: dec('0.5') } }],
  ['local_qty_invalid_increment', 'one and a half', { d: { quantity: dec('1.5') } }],
  ['min_notional_not_met', 'too small an order', { l: { minNotionalPerTrade: dec(1_001) } }],
  ['precheck_opposite_side_open_order', 'an open order of the other side', { s: { pending: [pending('sell', 1)] } }],
  ['position_changed', 'an entry that would now close', { s: { position: dec(-5) } }],
  ['position_already_closed', 'an exit with nothing to close', { d: exit, l: { allowShorts: true } }],
  ['sell_inventory_conflict', 'an exit whose shares are all reserved', { d: exit, s: { position: dec(5), pending: [pending('sell', 5)] }, l: { allowShorts: true, maxPositionPctEquity: undefined } }],
  ['price_moved', 'a price that ran away', { s: { price: { price: dec('100.51'), asOfMs: nowMs } } }],
  ['decision_too_old', 'an old decision', { d: { eventTsMs: nowMs - 30_001 } }],
]; // biome-ignore format: one row per reason

describe('risk gates', () => {
  it('approve the untouched fixture', () => {
    expect(reasonsOf({})).toEqual([]);
  });

  it.each(refusals)('%s refuses %s', (reason, _what, change) => {
    expect(reasonsOf(change)).toEqual([reason]);
  });

  it('name a closed live gate and everything that closes it', () => {
    expect(reasonsOf(switches({ liveHolds: ['live_not_armed', 'broker_unavailable'] }))).toEqual([
      'capital_stage_shadow',
      'live_not_armed',
      'broker_unavailable',
    ]);
    expect(isBlocked(['capital_stage_shadow'])).toBe(true);
  });

  it('let an entry against the net pass: it brings the account nearer to its cap', () => {
    const s = { holdings: [held('AIG', -300, 200)] };
    expect(reasonsOf({ s, l: { maxGrossPctEquity: undefined, maxNetPctEquity: dec('0.1') } })).toEqual([]);
  });

  it('have a row in this table for every gate', () => {
    const answered = new Set<string>(['live']);
    for (const [, , change] of refusals) {
      const result = evaluateRisk(decision(change.d), snapshot(change.s), limits(change.l));
      for (const answer of result.record.gates) if (answer.reasons.length > 0) answered.add(answer.gate);
    }
    expect(gates.map((gate) => gate.name).filter((name) => !answered.has(name))).toEqual([]);
  });

  it('report all reasons in gate order', () => {
    expect(
      reasonsOf({
        d: { quantity: dec(100), eventTsMs: 0 },
        l: { strategyEnabled: false, universe: [] },
        s: { session: 'closed' },
      }),
    ).toEqual([
      'strategy_disabled',
      'symbol_not_allowed',
      'max_notional_exceeded',
      'max_position_pct_exceeded',
      'market_closed',
      'decision_too_old',
    ]);
  });

  it('let a limit stand exactly at its value', () => {
    expect(reasonsOf({ l: { maxNotionalPerTrade: dec(1_000) } })).toEqual([]);
    expect(reasonsOf({ s: { position: dec(40) } })).toEqual([]);
    expect(reasonsOf({ s: { lastEntryAtMs: nowMs - 5_000 } })).toEqual([]);
    expect(reasonsOf(account({ buyingPower: dec('1155.56') }))).toEqual([]);
  });

  it('have no limit where none is set', () => {
    const none = {
      maxNotionalPerTrade: undefined,
      maxPositionPctEquity: undefined,
      cooldownSeconds: 0,
      maxOrderPctEquity: undefined,
      maxSymbolPctEquity: undefined,
      maxGrossPctEquity: undefined,
      maxNetPctEquity: undefined,
    };
    expect(reasonsOf({ l: none, s: { lastEntryAtMs: nowMs }, d: { quantity: dec(1_000) } })).toEqual([]);
  });

  it('do not measure the price drift before review', () => {
    const moved = snapshot({ price: { price: dec(102), asOfMs: nowMs } });
    expect(screenDecision(decision(), moved, limits()).reasons).toEqual([]);
  });
});

describe('closing orders', () => {
  const closing: Change = { d: { ...exit, quantity: dec(300) }, s: { position: dec(200) } };

  it('are clamped to the position and never flip it', () => {
    const result = evaluateRisk(decision(closing.d), snapshot(closing.s), limits());
    if (!result.ok) throw new Error(result.refusal.reasons.join());
    expect(result.order.terms.quantity.toFixed()).toBe('200');
    expect(result.record.quantity.wanted.toFixed()).toBe('300');
  });

  it('leave alone the shares that pending sales have reserved', () => {
    const held = snapshot({ position: dec(200), pending: [pending('sell', 150)] });
    const result = evaluateRisk(decision(closing.d), held, limits());
    expect(result.ok && result.order.terms.quantity.toFixed()).toBe('50');
  });

  it('pass the gates that hold entries only', () => {
    const { switches: nearlyFull } = switches({ storeEmergency: 'free 3 %' }).s as Pick<RiskSnapshot, 'switches'>;
    const held = { ...closing.s, account: undefined, lastEntryAtMs: nowMs, switches: nearlyFull };
    const l = {
      strategyEnabled: false,
      universe: [],
      strategySymbols: ['AIG'],
      maxNotionalPerTrade: dec(0),
      maxPositionPctEquity: dec(0),
    };
    expect(reasonsOf({ ...closing, s: held, l })).toEqual([]);
  });

  it('are held by kill switch, master switch, price and session', () => {
    expect(reasonsOf({ d: closing.d ?? {}, s: { ...closing.s, ...switches({ killSwitch: true }).s } })).toEqual([
      'kill_switch_enabled',
    ]);
    expect(reasonsOf({ d: closing.d ?? {}, s: { ...closing.s, ...switches({ tradingEnabled: false }).s } })).toEqual([
      'trading_disabled',
    ]);
    expect(reasonsOf({ d: closing.d ?? {}, s: { ...closing.s, price: undefined } })).toEqual(['missing_price']);
    expect(reasonsOf({ d: closing.d ?? {}, s: { ...closing.s, session: 'closed' } })).toEqual(['market_closed']);
  });

  it('close a short by buying', () => {
    const buy = decision({ intent: 'exit', action: 'buy', quantity: dec(30) });
    const result = evaluateRisk(buy, snapshot({ position: dec(-20) }), limits());
    expect(result.ok && result.order.terms).toMatchObject({ side: 'buy' });
    expect(result.ok && result.order.terms.quantity.toFixed()).toBe('20');
  });
});

describe('approved orders', () => {
  it('are recognised only when risk made this very object', () => {
    const result = evaluateRisk(decision(), snapshot(), limits());
    if (!result.ok) throw new Error('refused');
    expect(isApprovedOrder(result.order)).toBe(true);
    expect(isApprovedOrder({ ...result.order })).toBe(false);
    expect(isApprovedOrder(structuredClone({ approvedAtMs: 1 }))).toBe(false);
    expect(isApprovedOrder(null)).toBe(false);
  });

  it('cannot be changed after approval', () => {
    const result = evaluateRisk(decision(), snapshot(), limits());
    if (!result.ok) throw new Error('refused');
    expect(() => Object.assign(result.order.terms, { quantity: dec(1_000_000) })).toThrow(TypeError);
    expect(() => Object.assign(result.order, { terms: {} })).toThrow(TypeError);
  });

  it('cannot be written down by hand', () => {
    const result = evaluateRisk(decision(), snapshot(), limits());
    if (!result.ok) throw new Error('refused');
    const { decision: d, terms, approvedAtMs } = result.order;
    // @ts-expect-error the brand cannot be named outside lib/risk
    const forged: typeof result.order = { decision: d, terms, approvedAtMs };
    expect(isApprovedOrder(forged)).toBe(false);
  });
});

describe('a refusal', () => {
  it('is blocked when a switch held it and rejected when a limit did', () => {
    expect(isBlocked(['max_notional_exceeded', 'kill_switch_enabled'])).toBe(true);
    expect(isBlocked(['max_notional_exceeded', 'cooldown_active'])).toBe(false);
  });
});
