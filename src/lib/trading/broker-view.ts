/**
 * The broker as the cycle sees it, on top of the REST reads. Assets are kept for ten machine minutes: their flags change at
 * most daily, and every request counts against the budget.
 */
import type { TradingReads } from '../alpaca/trading-rest.ts';
import { newYorkInstant, newYorkTime } from '../market/calendar.ts';
import type { AssetView } from '../risk/snapshot.ts';
import type { Clock } from '../service/clock.ts';
import { machineMs } from '../service/machine.ts';
import type { BrokerView } from './ports.ts';
import type { SessionReads } from './session.ts';

const NS_PER_MS = 1_000_000n;
const ASSET_CACHE_MS = 600_000;

const DAY_MS = 86_400_000;

/** The broker's clock and calendar in market ms. */
export function brokerHours(reads: Pick<TradingReads, 'clock' | 'calendar'>): SessionReads {
  return {
    session: async () => {
      const session = await reads.clock();
      return {
        isOpen: session.isOpen,
        nextOpenMs: Number(session.nextOpenNs / NS_PER_MS),
        nextCloseMs: Number(session.nextCloseNs / NS_PER_MS),
      };
    },
    days: async (nowMs) => {
      const dateOf = (ms: number) => newYorkTime(BigInt(ms) * NS_PER_MS).date;
      const days = await reads.calendar({ start: dateOf(nowMs - 7 * DAY_MS), end: dateOf(nowMs + 14 * DAY_MS) });
      return days.map(({ date, open, close }) => ({ date, openMs: bellMs(date, open), closeMs: bellMs(date, close) }));
    },
  };
}

/** Market ms of a New York time of day, HH:MM. */
function bellMs(date: string, text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number);
  return Number(newYorkInstant(date, (hours * 60 + minutes) * 60_000) / NS_PER_MS);
}

export function brokerView(reads: TradingReads, clock: Clock): BrokerView {
  const assets = new Map<string, { asset: AssetView | undefined; atMs: number }>();
  return {
    account: async () => {
      const account = await reads.account();
      return {
        equity: account.equity,
        cash: account.cash,
        buyingPower: account.buyingPower,
        isRestricted: account.restrictions.length > 0,
        shortingEnabled: account.isShortingEnabled,
        ids: [account.id, ...(account.accountNumber === undefined ? [] : [account.accountNumber])],
        asOfMs: clock.nowMs(),
      };
    },
    positions: async () => {
      const positions = await reads.positions();
      return positions.map(({ symbol, quantity, avgEntryPrice, currentPrice }) => ({
        symbol,
        quantity,
        averageEntryPrice: avgEntryPrice,
        ...(currentPrice === undefined ? {} : { currentPrice }),
      }));
    },
    ...brokerHours(reads),
    asset: async (symbol) => {
      const known = assets.get(symbol);
      if (known && machineMs() - known.atMs < ASSET_CACHE_MS) return known.asset;
      const found = await reads.asset(symbol);
      // An asset that the broker does not know cannot be traded (spec 4.4: 404).
      const asset = {
        isTradable: found?.isActive === true && found.isTradable,
        isShortable: found?.isShortable ?? false,
        isEasyToBorrow: found?.isEasyToBorrow ?? false,
        isFractionable: found?.isFractionable ?? false,
      };
      assets.set(symbol, { asset, atMs: machineMs() });
      return asset;
    },
  };
}
