/** Settings of the simulator's trading side. Those of a new journal change nothing in an old one. */
import { kind, loadConfig, type VariableTable } from '../../lib/service/config.ts';
import type { TradingSettings } from './settings.ts';

export const tradingSideVariables = {
  SIMULATOR_CASH: { parse: kind.decimal, default: '100000', describe: 'start cash in dollars of a new account' },
  SIMULATOR_MULTIPLIER: {
    parse: kind.oneOf('1', '2'),
    default: '2' as '1' | '2',
    describe: 'buying power of a new account: 1 is a cash account, 2 a margin account',
  },
  SIMULATOR_REQUESTS_PER_MINUTE: {
    parse: kind.integer(1),
    // Large on purpose: a run at thirty times real time asks thirty times as often.
    default: 100_000,
    describe: 'trading requests a machine minute and key; the real broker allows 200',
  },
  SIMULATOR_ID_SEED: {
    parse: kind.text,
    default: '1',
    describe: 'seed of all order and execution ids of a new account',
  },
  SIMULATOR_EXTRA_SYMBOLS: {
    parse: kind.csv,
    default: [] as readonly string[],
    describe: 'assets that can be traded beside those of the tape; without quotes their orders rest',
  },
  SIMULATOR_NOT_SHORTABLE: {
    parse: kind.csv,
    default: [] as readonly string[],
    describe: 'assets that cannot be sold short',
  },
} satisfies VariableTable;

/** @throws `config_invalid` (exit 2) that lists every mistake */
export function loadTradingSettings(env: NodeJS.ProcessEnv): TradingSettings {
  const { values } = loadConfig(tradingSideVariables, env);
  return {
    cash: values.SIMULATOR_CASH,
    multiplier: values.SIMULATOR_MULTIPLIER === '1' ? 1 : 2,
    requestsPerMinute: values.SIMULATOR_REQUESTS_PER_MINUTE,
    seed: values.SIMULATOR_ID_SEED,
    extraSymbols: values.SIMULATOR_EXTRA_SYMBOLS.map((symbol) => symbol.toUpperCase()),
    notShortable: values.SIMULATOR_NOT_SHORTABLE.map((symbol) => symbol.toUpperCase()),
  };
}
