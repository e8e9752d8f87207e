/**
 * Which strategies a catalog can name: the built-in ones, and those that plug-ins added when the process started.
 * Guarantee: a name means one strategy; a plug-in never takes the name of another.
 */
import { intradayMomentum } from './intraday-momentum.ts';
import { macdRsi } from './macd-rsi.ts';
import type { StrategyType } from './plugin.ts';

export interface StrategyRegistry {
  readonly types: readonly StrategyType[];
  /** By name or alias. */
  find(name: string): StrategyType | undefined;
  /** Every name and alias. */
  readonly names: readonly string[];
}

export function strategyRegistry(types: readonly StrategyType[]): StrategyRegistry {
  const byName = new Map<string, StrategyType>();
  for (const type of types) {
    for (const name of type.names) {
      const other = byName.get(name);
      if (other) throw new Error(`two strategies go by the name ${name}: ${other.type} and ${type.type}`);
      byName.set(name, type);
    }
  }
  return { types, find: (name) => byName.get(name), names: [...byName.keys()] };
}

export const builtInStrategies: StrategyRegistry = strategyRegistry([macdRsi, intradayMomentum]);
