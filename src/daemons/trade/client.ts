/** Asks a running trade daemon. */
import { z } from 'zod';
import { describeError, unreachableError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';

const TIMEOUT_MS = 5_000;
/** A pass waits for the broker's lists and for look-ups. */
const RECONCILE_TIMEOUT_MS = 120_000;

const passSchema = z.looseObject({
  changes: z.number(),
  ordersSeen: z.number(),
  fillsAdded: z.number(),
  statesChanged: z.number(),
  claimsResolved: z.number(),
  adopted: z.number(),
  unknownClaims: z.number(),
  openOrders: z.number(),
  findings: z.array(z.looseObject({ kind: z.string(), subject: z.string(), isPaging: z.boolean() })),
});
/** A reconcile pass as the daemon tells it. */
export type DaemonPass = z.infer<typeof passSchema>;

/**
 * What a change of the daemon at this address must carry: its home's own token, else TRADING_API_TOKEN.
 * Empty when neither is known; the daemon then says what is missing.
 */
export function bearerOf(home: string, url: string, env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const known = findService(home, 'trade');
  const token = known?.url === url ? known.extra?.token : env.TRADING_API_TOKEN;
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` };
}

/** Asks the running daemon for one reconcile pass. @throws `trade_unreachable` (exit 3) */
export async function askReconcile(
  url: string,
  sinceMs: number | undefined,
  headers: Record<string, string>,
): Promise<DaemonPass> {
  const target = new URL('/reconcile', url);
  if (sinceMs !== undefined) target.searchParams.set('since_ms', String(sinceMs));
  try {
    const response = await fetch(target, {
      method: 'POST',
      headers,
      signal: AbortSignal.timeout(RECONCILE_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`);
    return passSchema.parse(await response.json());
  } catch (error) {
    throw unreachableError({
      code: 'trade_unreachable',
      what: 'the trade daemon did not reconcile',
      why: describeError(error),
      next: 'look at its log; with no daemon running the command leads the account itself',
      cause: error,
    });
  }
}

/** @throws `trade_unreachable` (exit 3) */
export async function readTradeStatus(options: {
  home: string;
  url?: string | undefined;
}): Promise<Record<string, unknown>> {
  const url = options.url ?? findService(options.home, 'trade')?.url;
  const unreachable = (why: string, cause?: unknown) =>
    unreachableError({
      code: 'trade_unreachable',
      what: 'the trade daemon does not answer',
      why,
      next: 'start `torghut up` or `torghut trade`, or name its address with --url',
      cause,
    });
  if (url === undefined) throw unreachable('none is running in this home');
  try {
    const response = await fetch(new URL('/trading/status', url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return z.record(z.string(), z.unknown()).parse(await response.json());
  } catch (error) {
    throw unreachable(describeError(error), error);
  }
}
