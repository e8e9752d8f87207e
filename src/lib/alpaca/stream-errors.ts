/**
 * What each failure of a stream means and what to do about it (spec ingest 1.4 and 2.4; alpaca-protocol 1).
 * Guarantees: every code has exactly one class and one action; an unknown code is `unknown` and reconnects with back-off.
 */
import { backoffMs } from '../service/machine.ts';

export type StreamErrorClass =
  | 'alpaca_auth'
  | 'alpaca_auth_timeout'
  | 'alpaca_symbol_limit'
  | 'alpaca_406_second_connection'
  | 'alpaca_slow_client'
  | 'alpaca_entitlement'
  | 'alpaca_protocol'
  | 'alpaca_server'
  | 'already_authenticated'
  | 'rate_limited'
  | 'connection_lost'
  | 'read_idle'
  | 'stale_data'
  | 'pong_timeout'
  | 'unknown';

/**
 * - `ignore`: count it, the session is healthy.
 * - `keep`: the session goes on with what was granted.
 * - `dropChannel`: the last subscribe asked for a channel this feed does not offer; go on without it.
 * - `reconnect`: end this session and try again after the class's delay.
 */
export type StreamErrorAction = 'ignore' | 'keep' | 'dropChannel' | 'reconnect';

export interface StreamErrorRule {
  errorClass: StreamErrorClass;
  action: StreamErrorAction;
}

const rules: Readonly<Record<number, StreamErrorRule>> = {
  400: { errorClass: 'alpaca_protocol', action: 'reconnect' },
  401: { errorClass: 'alpaca_auth', action: 'reconnect' },
  402: { errorClass: 'alpaca_auth', action: 'reconnect' },
  403: { errorClass: 'already_authenticated', action: 'ignore' },
  404: { errorClass: 'alpaca_auth_timeout', action: 'reconnect' },
  405: { errorClass: 'alpaca_symbol_limit', action: 'keep' },
  406: { errorClass: 'alpaca_406_second_connection', action: 'reconnect' },
  407: { errorClass: 'alpaca_slow_client', action: 'reconnect' },
  408: { errorClass: 'alpaca_entitlement', action: 'reconnect' },
  409: { errorClass: 'alpaca_entitlement', action: 'reconnect' },
  410: { errorClass: 'alpaca_protocol', action: 'dropChannel' },
  411: { errorClass: 'alpaca_entitlement', action: 'reconnect' },
  412: { errorClass: 'alpaca_protocol', action: 'reconnect' },
  413: { errorClass: 'alpaca_protocol', action: 'reconnect' },
  500: { errorClass: 'alpaca_server', action: 'reconnect' },
};

/** The rule of an error frame; without a known code the text decides (spec ingest 1.4, last paragraph). */
export function streamErrorRule(code: number | undefined, message: string): StreamErrorRule {
  const known = code === undefined ? undefined : rules[code];
  if (known) return known;
  const text = message.toLowerCase();
  if (text.includes('406') || text.includes('connection limit')) return rules[406] as StreamErrorRule;
  if (/401|403|unauthorized|forbidden/.test(text)) return rules[402] as StreamErrorRule;
  return { errorClass: 'unknown', action: 'reconnect' };
}

/** Class of an HTTP answer to the upgrade request that was not 101. */
export function upgradeErrorClass(status: number): StreamErrorClass {
  if (status === 401 || status === 403) return 'alpaca_auth';
  if (status === 406) return 'alpaca_406_second_connection';
  if (status === 429) return 'rate_limited';
  return status >= 500 ? 'alpaca_server' : 'unknown';
}

export interface RetrySettings {
  baseMs: number;
  maxMs: number;
  /** After refused credentials; five times as long without entitlement, from a twelfth of it on after 406 and 429. */
  refusedMs: number;
  random: () => number;
}

/**
 * Machine ms to wait before the next attempt: the class's floor over the common back-off. By default 406 starts at 5 s and
 * doubles to 60 s, bad credentials and missing entitlement wait long, because a fast retry can only make them worse.
 * @param attempt 1 for the first retry
 */
export function retryDelayMs(errorClass: StreamErrorClass, attempt: number, settings: RetrySettings): number {
  switch (errorClass) {
    case 'alpaca_406_second_connection':
    case 'rate_limited':
      return backoffMs(attempt, settings.refusedMs / 12, settings.refusedMs, settings.random);
    case 'alpaca_auth':
      return settings.refusedMs;
    case 'alpaca_entitlement':
      return settings.refusedMs * 5;
    default:
      return backoffMs(attempt, settings.baseMs, settings.maxMs, settings.random);
  }
}

/** Classes that no reconnect cures by itself: the state is `blocked`, a person has to look. */
export function isBlocking(errorClass: StreamErrorClass): boolean {
  return (
    errorClass === 'alpaca_auth' || errorClass === 'alpaca_entitlement' || errorClass === 'alpaca_406_second_connection'
  );
}
