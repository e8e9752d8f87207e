/**
 * Are the provider's keys good, and for what (spec ingest 6.2, step 6)? Asks the trading REST for the account, the market-data
 * REST for one bar and, when told to, authenticates once on the test stream, which is another endpoint than the live feed's.
 * Guarantees: reads only; the answers hold status codes and the provider's codes, never a key or a body.
 */
import WebSocket from 'ws';
import { z } from 'zod';

export interface CredentialTestOptions {
  key: string;
  secret: string;
  /** For example https://data.alpaca.markets */
  dataUrl: string;
  /** For example https://paper-api.alpaca.markets; undefined: not asked. */
  tradingUrl: string | undefined;
  /** For example wss://stream.data.alpaca.markets/v2/test; undefined: no probe. */
  probeUrl: string | undefined;
  symbol: string;
  /** Machine ms for each of the tests. */
  timeoutMs: number;
}

const answer = z.object({
  /** HTTP status, or the code of the stream's error; null when nothing was answered. */
  code: z.number().nullable(),
  outcome: z.enum(['ok', 'refused', 'not_entitled', 'failed', 'unreachable']),
});
export type CredentialAnswer = z.infer<typeof answer>;

export const credentialReportSchema = z.object({
  account: answer.nullable(),
  bars: answer,
  probe: answer.nullable(),
});
export type CredentialReport = z.infer<typeof credentialReportSchema>;

function judged(status: number, body: string): CredentialAnswer {
  if (status >= 200 && status < 300) return { code: status, outcome: 'ok' };
  if (status === 403 && /subscription/i.test(body)) return { code: status, outcome: 'not_entitled' };
  if (status === 401 || status === 403) return { code: status, outcome: 'refused' };
  return { code: status, outcome: 'failed' };
}

async function ask(options: CredentialTestOptions, url: string): Promise<CredentialAnswer> {
  const headers = { 'APCA-API-KEY-ID': options.key, 'APCA-API-SECRET-KEY': options.secret };
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(options.timeoutMs) });
    return judged(response.status, await response.text());
  } catch {
    return { code: null, outcome: 'unreachable' };
  }
}

const frame = z.array(z.looseObject({ T: z.string(), msg: z.string().optional(), code: z.number().optional() }));

/** Connects, authenticates, closes with a handshake. */
function probe(options: CredentialTestOptions, url: string): Promise<CredentialAnswer> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { handshakeTimeout: options.timeoutMs, maxPayload: 1_048_576 });
    const limit = setTimeout(() => end({ code: null, outcome: 'unreachable' }), options.timeoutMs);
    const end = (found: CredentialAnswer) => {
      clearTimeout(limit);
      if (socket.readyState === WebSocket.OPEN) socket.close(1_000);
      else socket.terminate();
      resolve(found);
    };
    socket.on('message', (data) => {
      let messages: z.infer<typeof frame>;
      try {
        messages = frame.parse(JSON.parse(String(data)));
      } catch {
        return end({ code: null, outcome: 'failed' });
      }
      for (const message of messages) {
        if (message.msg === 'connected') {
          socket.send(JSON.stringify({ action: 'auth', key: options.key, secret: options.secret }));
        } else if (message.msg === 'authenticated') end({ code: null, outcome: 'ok' });
        else if (message.T === 'error') {
          const code = message.code ?? null;
          end({ code, outcome: code === 402 ? 'refused' : code === 409 ? 'not_entitled' : 'failed' });
        }
      }
    });
    socket.on('unexpected-response', (request, response) => {
      end(judged(response.statusCode ?? 0, ''));
      response.resume();
      request.destroy();
    });
    socket.on('error', () => end({ code: null, outcome: 'unreachable' }));
  });
}

/** Never throws: what cannot be asked is `unreachable`. */
export async function testCredentials(options: CredentialTestOptions): Promise<CredentialReport> {
  const bars = new URLSearchParams({ symbols: options.symbol, timeframe: '1Min', limit: '1' });
  const [account, data] = await Promise.all([
    options.tradingUrl === undefined ? null : ask(options, `${options.tradingUrl}/v2/account`),
    ask(options, `${options.dataUrl}/v2/stocks/bars?${bars}`),
  ]);
  return { account, bars: data, probe: options.probeUrl === undefined ? null : await probe(options, options.probeUrl) };
}

/** Address of the trading REST that belongs to an order stream; undefined without one. */
export function tradingUrlOf(orderStreamUrl: string | undefined): string | undefined {
  if (orderStreamUrl === undefined) return undefined;
  const url = new URL(orderStreamUrl);
  return `${url.protocol === 'wss:' ? 'https:' : 'http:'}//${url.host}`;
}
