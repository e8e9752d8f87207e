/**
 * Order events that nobody heard, brought in from REST after every (re)connect of their stream, and looked for once a minute
 * as a backstop, because the stream itself loses some (alpaca-protocol 2, seen in the wild).
 * Guarantees: starts behind the newest event that is in the topic, or where the stream was last whole; asks until an answer
 * comes; an event is told once, whichever way it came first; the gap and its repair are on the status topic.
 */
import type { Logger } from 'pino';
import { type DerivedUpdate, updatesSince } from '../../lib/alpaca/order-history.ts';
import { createRequestBudget } from '../../lib/alpaca/trading-budget.ts';
import { openTradingReads, type TradingReads } from '../../lib/alpaca/trading-rest.ts';
import type { Clock } from '../../lib/service/clock.ts';
import { codeOf, describeError } from '../../lib/service/errors.ts';
import { sleep } from '../../lib/service/machine.ts';
import type { OrderEvents } from './order-events.ts';
import type { StatusReporter } from './status-reporter.ts';
import type { WsConfig } from './variables.ts';

/** Market ns before the last whole moment from which on is asked: the stream and REST may disagree about order. */
const MARGIN_NS = 60_000_000_000n;
/** Machine ms after a connect at which REST is asked: it may lag behind the stream by seconds. */
const PASSES_MS = [0, 5_000, 15_000] as const;
const BACKSTOP_MS = 60_000;
const RETRY_MS = 2_000;
/** Of the 200 that an account has; the trading daemon needs the others. */
const REQUESTS_A_MINUTE = 40;
/** Where to begin while the topic is empty: so long before now (market ns). */
const FIRST_LOOK_NS = 86_400_000_000_000n;

export interface OrderRecoveryOptions {
  component: string;
  reads: Pick<TradingReads, 'orders' | 'fillActivities' | 'orderById'>;
  clock: Clock;
  log: Logger;
  status: StatusReporter;
  orderEvents: OrderEvents;
  /** Market ns of the newest event in the topic, or where to begin without one. */
  sinceNs: bigint;
  onRecovered(count: number): void;
}

export interface OrderRecovery {
  /** The stream listens from now on. */
  up(): void;
  /** The stream was lost. */
  down(): void;
}

export function createOrderRecovery(options: OrderRecoveryOptions): OrderRecovery {
  const { clock, log, status, orderEvents, reads, component } = options;
  /** Everything before it is told. */
  let wholeNs = options.sinceNs;
  let running: AbortController | undefined;

  const pass = async (signal: AbortSignal): Promise<number> => {
    const askedNs = clock.nowNs();
    const updates: DerivedUpdate[] = await updatesSince(reads, wholeNs - MARGIN_NS, signal);
    const told = updates.filter((update) => orderEvents.recover(update.data)).length;
    if (told > 0) {
      const gap = { channel: 'trade_updates', symbol: '*', fromNs: wholeNs, toNs: askedNs, count: told };
      status.gap(component, { ...gap, repaired: true }, 'recovered by REST orders and activities');
      log.warn({ told }, 'order events recovered that the stream did not bring');
      options.onRecovered(told);
    }
    return told;
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    let isTold = false;
    for (let turn = 0; !signal.aborted; turn++) {
      const upNs = clock.nowNs();
      try {
        await pass(signal);
        // Only the passes after the connect close the gap; what REST shows later than that is found by the backstop.
        if (turn >= PASSES_MS.length - 1) wholeNs = upNs;
        isTold = false;
      } catch (error) {
        if (signal.aborted) return;
        if (!isTold) {
          isTold = true;
          log.error({ err: describeError(error) }, 'cannot ask for order events that were missed');
          const gap = { channel: 'trade_updates', symbol: '*', fromNs: wholeNs, toNs: upNs, count: 0, repaired: false };
          status.gap(component, gap, `REST did not answer: ${codeOf(error) ?? 'unexpected'}`);
        }
        turn -= 1;
        await sleep(RETRY_MS, signal);
        continue;
      }
      const nextMs = PASSES_MS[turn + 1];
      await sleep(nextMs === undefined ? BACKSTOP_MS : nextMs - (PASSES_MS[turn] as number), signal);
    }
  };

  return {
    up: () => {
      running?.abort();
      running = new AbortController();
      void run(running.signal);
    },
    down: () => running?.abort(),
  };
}

/** The recovery as the settings ask for it; undefined without an order stream. */
export function openOrderRecovery(
  config: Pick<WsConfig, 'ALPACA_TRADE_STREAM_URL' | 'INGEST_START_TS' | 'key' | 'secret'>,
  options: Omit<OrderRecoveryOptions, 'reads' | 'sinceNs'> & { newestNs: bigint | undefined },
): OrderRecovery | undefined {
  if (config.ALPACA_TRADE_STREAM_URL === undefined) return undefined;
  return createOrderRecovery({
    ...options,
    reads: openTradingReads({
      baseUrl: tradingRestOf(config.ALPACA_TRADE_STREAM_URL),
      keyId: config.key,
      secretKey: config.secret,
      budget: createRequestBudget(REQUESTS_A_MINUTE, 0),
    }),
    sinceNs: options.newestNs ?? config.INGEST_START_TS ?? options.clock.nowNs() - FIRST_LOOK_NS,
  });
}

/** The trading REST service of the host whose stream tells of the orders. */
function tradingRestOf(streamUrl: string): string {
  const url = new URL(streamUrl);
  return `${url.protocol === 'wss:' ? 'https:' : 'http:'}//${url.host}`;
}
