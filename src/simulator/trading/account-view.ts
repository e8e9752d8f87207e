/**
 * The account and its positions as answers show them: every amount a string (alpaca-protocol 3).
 */
import { newYorkTime, tradingDays } from '../../lib/market/calendar.ts';
import type { Position } from './account.ts';
import { buyingPower, isShortingEnabled } from './admission.ts';
import { type Amount, amount, rounded, text, ZERO } from './amount.ts';
import type { Broker } from './broker.ts';
import { seededUuid } from './identity.ts';

const NS_PER_DAY = 86_400_000_000_000n;
/** Trading days over which day trades are counted (FINRA 4210). */
const DAY_TRADE_DAYS = 5;

export function accountView(broker: Broker, nowNs: bigint): Record<string, unknown> {
  const { state } = broker;
  const { account, configuration } = state;
  const { valuation, buyingPower: power, regtBuyingPower, nonMarginable } = buyingPower(broker.engine);
  const { date } = newYorkTime(nowNs);
  const recent = tradingDays(newYorkTime(nowNs - 14n * NS_PER_DAY).date, date).slice(-DAY_TRADE_DAYS);
  const dayTrades = account.dayTradeCount(recent.map((day) => day.date));
  const number = seededUuid(state.start.seed, 'account number').replace(/-/g, '').slice(0, 10).toUpperCase();
  return {
    id: seededUuid(state.start.seed, 'account'),
    account_number: `SIM${number}`,
    status: 'ACTIVE',
    crypto_status: 'INACTIVE',
    currency: 'USD',
    buying_power: rounded(power),
    regt_buying_power: rounded(regtBuyingPower),
    daytrading_buying_power: '0',
    effective_buying_power: rounded(power),
    non_marginable_buying_power: rounded(nonMarginable),
    options_buying_power: rounded(nonMarginable),
    bod_dtbp: '0',
    cash: rounded(account.cash, 9),
    accrued_fees: '0',
    pending_transfer_in: '0',
    pending_transfer_out: '0',
    pending_reg_taf_fees: '0',
    intraday_adjustments: '0',
    portfolio_value: rounded(valuation.equity),
    pattern_day_trader: false,
    trading_blocked: false,
    transfers_blocked: false,
    account_blocked: false,
    created_at: state.createdAt,
    trade_suspended_by_user: configuration.suspend_trade,
    multiplier: String(state.multiplier()),
    shorting_enabled: isShortingEnabled(broker.engine),
    equity: rounded(valuation.equity),
    last_equity: rounded(account.lastEquity),
    long_market_value: rounded(valuation.longValue),
    short_market_value: rounded(valuation.shortValue),
    position_market_value: rounded(valuation.longValue.minus(valuation.shortValue)),
    initial_margin: rounded(valuation.initialMargin),
    maintenance_margin: rounded(valuation.maintenanceMargin),
    last_maintenance_margin: rounded(account.lastMaintenanceMargin),
    // The special memorandum account: what the Regulation T requirement leaves free.
    sma: rounded(valuation.equity.minus(valuation.initialMargin)),
    daytrade_count: dayTrades,
    balance_asof: account.balanceDate ?? newYorkTime(nowNs).date,
    crypto_tier: 0,
    options_approved_level: 0,
    options_trading_level: 0,
  };
}

const ratio = (part: Amount, whole: Amount): string => (whole.isZero() ? '0' : rounded(part.div(whole.abs()), 6));

export function positionView(broker: Broker, position: Position): Record<string, unknown> {
  const asset = broker.engine.assets.find(position.symbol);
  const price = broker.engine.priceOf(position.symbol) ?? position.fillPrice;
  const value = position.qty.times(price);
  const lastday = position.closePrice ?? price;
  const unrealized = value.minus(position.cost);
  const intraday = value.minus(position.intradayCost);
  return {
    asset_id: asset?.id ?? null,
    symbol: position.symbol,
    exchange: asset?.exchange ?? null,
    asset_class: 'us_equity',
    asset_marginable: true,
    qty: text(position.qty),
    qty_available: text(signedLike(broker.available(position.symbol), position.qty)),
    avg_entry_price: rounded(position.cost.div(position.qty), 9),
    side: position.qty.isPositive() ? 'long' : 'short',
    market_value: rounded(value, 9),
    cost_basis: rounded(position.cost, 9),
    unrealized_pl: rounded(unrealized, 9),
    unrealized_plpc: ratio(unrealized, position.cost),
    unrealized_intraday_pl: rounded(intraday, 9),
    unrealized_intraday_plpc: ratio(intraday, position.intradayCost),
    current_price: text(price),
    lastday_price: text(lastday),
    change_today: ratio(price.minus(lastday), lastday),
  };
}

function signedLike(size: Amount, sign: Amount): Amount {
  if (size.isZero()) return ZERO;
  return sign.isPositive() ? size : amount(0).minus(size);
}
