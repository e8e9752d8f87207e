/**
 * One HTTP request and no more: fetch would send a request again on 421 Misdirected Request, and a mutation must never be
 * sent twice by anything below us. Guarantee: at most one request leaves per call; a time-out covers everything from
 * connecting to the last byte (machine ms).
 */
import { Agent as HttpAgent, request as httpRequest, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

/** Idle sockets live shorter than servers keep them, so that a request seldom meets a socket that was just closed. */
const IDLE_SOCKET_MS = 2_000;
const httpAgent = new HttpAgent({ keepAlive: true, timeout: IDLE_SOCKET_MS });
const httpsAgent = new HttpsAgent({ keepAlive: true, timeout: IDLE_SOCKET_MS });

export interface OneRequest {
  method: 'POST' | 'DELETE' | 'PATCH';
  url: string;
  headers: Record<string, string>;
  body?: string;
  timeoutMs: number;
}

/** @throws Error when no complete answer came in time; whether the server acted is then unknown */
export function sendOnce(options: OneRequest): Promise<{ status: number; text: string }> {
  const url = new URL(options.url);
  const isTls = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const headers: Record<string, string | number> = { ...options.headers };
    if (options.body !== undefined) headers['content-length'] = Buffer.byteLength(options.body);
    const settings: RequestOptions = { method: options.method, headers, agent: isTls ? httpsAgent : httpAgent };
    const request = (isTls ? httpsRequest : httpRequest)(url, settings, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => void chunks.push(chunk));
      response.on('error', fail);
      response.on('aborted', () => fail(new Error('the connection closed in the middle of the answer')));
      response.on('end', () => {
        clearTimeout(limit);
        if (!response.complete) return fail(new Error('the answer was cut short'));
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    const fail = (error: Error) => {
      clearTimeout(limit);
      reject(error);
    };
    const limit = setTimeout(() => {
      request.destroy(new Error(`no complete answer within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    request.on('error', fail);
    request.end(options.body);
  });
}
