/**
 * The symbols ws wants now, over the life of the process: the fixed list, or the polls of SYMBOLS_URL with their counters. With
 * no symbol yet ws is idle: not connected, not ready, and no restart would help (spec ingest 2.1).
 */
import type { Logger } from 'pino';
import { fetchSymbols, type PollFailure, type SymbolChange, SymbolSource } from '../../lib/market/symbol-source.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { WsMetrics } from './metrics.ts';
import type { WsConfig } from './variables.ts';

export interface DesiredSymbols {
  readonly symbols: readonly string[];
  readonly failure: PollFailure | undefined;
  readonly isPolled: boolean;
  /** Resolves when there is a symbol, or the signal aborts. */
  any(signal: AbortSignal): Promise<void>;
  /** Polls until the signal aborts; at once for a fixed list. */
  run(signal: AbortSignal): Promise<void>;
}

export function createDesiredSymbols(options: {
  config: Pick<WsConfig, 'symbols' | 'symbolRules' | 'SYMBOLS_URL' | 'SYMBOLS_POLL_INTERVAL_MS'>;
  clock: Clock;
  log: Logger;
  metrics: WsMetrics;
  onChange(symbols: readonly string[], change: SymbolChange): void;
}): DesiredSymbols {
  const { config, clock, log, metrics } = options;
  const url = config.SYMBOLS_URL;
  let found: () => void = () => undefined;
  const some = new Promise<void>((resolve) => {
    found = resolve;
  });
  const source = new SymbolSource({
    initial: config.symbols,
    rules: config.symbolRules,
    ...(url === undefined ? {} : { fetch: (signal: AbortSignal) => fetchSymbols(url, signal) }),
    onChange: (symbols, change) => {
      log.info({ symbols: symbols.length, added: change.added, removed: change.removed }, 'symbols changed');
      options.onChange(symbols, change);
      found();
    },
    onFailure: (failure, why) => log.warn({ failure, why }, 'the list of the symbol service was not taken'),
  });
  if (source.symbols.length > 0) found();
  return {
    get symbols() {
      return source.symbols;
    },
    get failure() {
      return source.failure;
    },
    isPolled: url !== undefined,
    any: async (signal) => {
      if (signal.aborted) return;
      const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await Promise.race([some, stopped]);
    },
    run: async (signal) => {
      while (url !== undefined && !signal.aborted) {
        await source.poll(signal);
        if (signal.aborted) return;
        const { failure } = source;
        metrics.symbolsDegraded.set(failure === undefined ? 0 : 1);
        if (failure === undefined) {
          metrics.symbolFetches.inc();
          metrics.symbolsFetched.set(Math.floor(clock.nowMs() / 1_000));
        } else {
          metrics.symbolFailures.inc({ reason: failure });
          metrics.symbolsFailed.set(Math.floor(clock.nowMs() / 1_000));
        }
        await sleep(config.SYMBOLS_POLL_INTERVAL_MS, signal);
      }
    },
  };
}
