/** Asks a running trade daemon. */
import { z } from 'zod';
import { describeError, unreachableError } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';

const TIMEOUT_MS = 5_000;

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
