/**
 * Which broker a process may talk to (spec 3.4; design: safe by default).
 * Guarantees: live keys never reach another host than the live one, paper none than the paper one; a loopback broker (the
 * simulator) is allowed in paper mode with keys that start with `SIM` alone; a virtual clock never meets a real broker.
 */
import { refusedError } from '../service/errors.ts';

export type TradingMode = 'paper' | 'live';

export const paperHost = 'paper-api.alpaca.markets';
export const liveHost = 'api.alpaca.markets';

export interface BrokerEndpoint {
  /** Without a trailing slash and without /v2. */
  baseUrl: string;
  isSimulator: boolean;
}

function refuse(why: string): never {
  throw refusedError({
    code: 'broker_host_refused',
    what: 'refusing to start with this broker address',
    why,
    next: `use https://${paperHost} with TRADING_MODE=paper, https://${liveHost} with TRADING_MODE=live, or let \`torghut up\` start its simulator`,
  });
}

/**
 * Checks address, mode and key against each other.
 * @param clockKind a virtual clock is refused with any broker but the simulator
 * @throws `broker_host_refused` (exit 4)
 */
export function checkBrokerHost(options: {
  baseUrl: string;
  mode: TradingMode;
  keyId: string;
  clockKind: 'system' | 'virtual';
}): BrokerEndpoint {
  const { mode, keyId, clockKind } = options;
  let url: URL;
  try {
    url = new URL(options.baseUrl.trim());
  } catch {
    return refuse('it is not a URL');
  }
  const path = url.pathname.replace(/\/+$/, '').replace(/\/v2$/, '');
  if (url.username || url.password) refuse('it carries a user name or password');
  if (path !== '' || url.search || url.hash) refuse('it carries a path or a query');
  const host = url.hostname.toLowerCase();
  const isLoopback = host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
  if (isLoopback) {
    if (mode !== 'paper') refuse('a loopback broker is allowed with TRADING_MODE=paper only');
    if (!keyId.startsWith('SIM')) refuse('a loopback broker is allowed only with a key id that starts with SIM');
    if (url.protocol !== 'http:' && url.protocol !== 'https:') refuse('it is not http');
    return { baseUrl: `${url.protocol}//${url.host}`, isSimulator: true };
  }
  if (url.protocol !== 'https:') refuse('it is not https');
  if (url.port !== '') refuse('it names a port');
  const wanted = mode === 'live' ? liveHost : paperHost;
  if (host !== wanted) refuse(`TRADING_MODE=${mode} belongs to ${wanted}, not to ${host}`);
  if (keyId.startsWith('SIM')) refuse('a key id that starts with SIM belongs to the simulator');
  if (clockKind === 'virtual') refuse('a virtual clock is allowed with the simulator only');
  return { baseUrl: `https://${host}`, isSimulator: false };
}
