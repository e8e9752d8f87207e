/**
 * Alpaca's own SDK pointed at the simulator: it has no base-URL option, so the fetch function rewrites the host and the
 * trading stream gets its `url`.
 */
import { Alpaca, trading as sdk } from '@alpacahq/alpaca-trade-api';
import { KEY, SECRET } from './test-exchange.ts';

export interface SdkClient {
  alpaca: Alpaca;
  /** Every request that the SDK made: `METHOD path` and the status. */
  calls: { method: string; path: string; status: number; headers: Headers }[];
}

/** @param url where the simulator listens; @param base overrides the timeout or the keys */
export function sdkClient(url: string, base: { timeoutMs?: number; keyId?: string; secret?: string } = {}): SdkClient {
  const calls: SdkClient['calls'] = [];
  const alpaca = new Alpaca({
    keyId: base.keyId ?? KEY,
    secret: base.secret ?? SECRET,
    paper: true,
    retry: false,
    rateLimit: false,
    ...(base.timeoutMs === undefined ? {} : { timeoutMs: base.timeoutMs }),
    fetchApi: async (input, init) => {
      const asked = new URL(String(input));
      const response = await fetch(`${url}${asked.pathname}${asked.search}`, init);
      const method = init?.method ?? 'GET';
      calls.push({ method, path: asked.pathname, status: response.status, headers: response.headers });
      return response;
    },
  });
  return { alpaca, calls };
}

export { sdk };
