/** The faults of the market side, with their parameters. The trading side declares its own. */
import type { FaultRegistry } from '../faults.ts';

const marketFaults: Record<string, string> = {
  auth_402: 'market stream: auth is refused with 402',
  connection_406: 'market stream: auth is refused with 406',
  upgrade_429: 'any stream: the upgrade is refused with HTTP 429',
  upgrade_refused: 'any stream: the upgrade is refused with HTTP `status` (default 403)',
  drop_mid_frame: 'market stream: the socket is cut in the middle of a data frame',
  silent: 'market stream: the connection stays open and answers pings, but brings no more data',
  slow: 'market stream: data and pongs are held back for delay_ms (default 500) machine ms',
  behind:
    'market stream: from now on the connection brings its data at `rate` (default 0.5) of their speed, as from a buffer for a slow reader; pings are answered at once',
  stream_error:
    'market stream: error code `code` (default 500) comes with the next data; 404, 407 and 500 drop the connection',
  skew: 'market stream: `t` of the messages of a frame is moved by `ms` (default 5000)',
  http_429: 'market-data REST: 429 with exhausted rate-limit headers',
  http_500: 'market-data REST: 500',
};

/** All market faults take a `path` parameter that limits them to one stream or route. */
export function declareMarketFaults(faults: FaultRegistry): void {
  for (const [name, describe] of Object.entries(marketFaults)) faults.declare(name, describe);
}
