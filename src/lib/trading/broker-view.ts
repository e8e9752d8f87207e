/**
 * The broker as the cycle sees it, on top of the REST reads. Assets are kept for ten machine minutes: their flags change at
 * most daily, and every request counts against the budget.
 */
import type { TradingReads } from '../alpaca/trading-rest.ts';
import type { AssetView } from '../risk/snapshot.ts';
import type { Clock } from '../service/clock.ts';
import { machineMs } from '../service/machine.ts';
import type { BrokerView } from './ports.ts';

const NS_PER_MS = 1_000_000n;
const ASSET_CACHE_MS = 600_000;

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
        asOfMs: clock.nowMs(),
      };
    },
    positions: async () => {
      const positions = await reads.positions();
      return positions.map(({ symbol, quantity, avgEntryPrice }) => ({
        symbol,
        quantity,
        averageEntryPrice: avgEntryPrice,
      }));
    },
    session: async () => {
      const session = await reads.clock();
      return {
        isOpen: session.isOpen,
        nextOpenMs: Number(session.nextOpenNs / NS_PER_MS),
        nextCloseMs: Number(session.nextCloseNs / NS_PER_MS),
      };
    },
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
