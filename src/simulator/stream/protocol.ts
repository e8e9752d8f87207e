/**
 * Words of the market stream: channels, control messages, error codes (alpaca-protocol 1). Written for the simulator alone.
 */
import type { KindLetter } from '../market/message-line.ts';

/** Channels in the order in which a subscription reply lists them. */
export const channels = [
  'trades',
  'quotes',
  'bars',
  'updatedBars',
  'dailyBars',
  'statuses',
  'lulds',
  'corrections',
  'cancelErrors',
  'imbalances',
] as const;
export type StreamChannel = (typeof channels)[number];

export const channelOfKind: Record<KindLetter, StreamChannel> = {
  t: 'trades',
  q: 'quotes',
  b: 'bars',
  u: 'updatedBars',
  d: 'dailyBars',
  s: 'statuses',
  l: 'lulds',
  c: 'corrections',
  x: 'cancelErrors',
  i: 'imbalances',
};

/** Channels that a feed of options or crypto has and ours does not: known, so refused with 410 and not 400. */
export const foreignChannels: readonly string[] = ['orderbooks', 'news', 'orderImbalances'];

export const errorMessages: Record<number, string> = {
  400: 'invalid syntax',
  401: 'not authenticated',
  402: 'auth failed',
  403: 'already authenticated',
  404: 'auth timeout',
  405: 'symbol limit exceeded',
  406: 'connection limit exceeded',
  407: 'slow client',
  408: 'v2 not enabled',
  409: 'insufficient subscription',
  410: 'invalid subscribe action for this feed',
  411: 'insufficient scope',
  500: 'internal error',
};

/** Errors after which the server drops the connection. */
export const droppingErrors: ReadonlySet<number> = new Set([404, 407, 500]);

export function errorMessage(code: number): Record<string, unknown> {
  return { T: 'error', code, msg: errorMessages[code] ?? 'internal error' };
}

export function successMessage(msg: 'connected' | 'authenticated'): Record<string, unknown> {
  return { T: 'success', msg };
}
