/**
 * Who may use the simulator: any key pair that is not empty, unless one pair was given at start (then exactly that one).
 * Facts: headers of alpaca-protocol 3; basic authorization is accepted too, as the SDKs' event streams use it.
 */
import type { IncomingMessage } from 'node:http';
import type { KeyCheck } from './contract.ts';

function pairOf(request: IncomingMessage): { keyId: string; secret: string } {
  const header = (name: string) => String(request.headers[name] ?? '');
  const keyId = header('apca-api-key-id');
  const secret = header('apca-api-secret-key');
  const basic = /^Basic (.+)$/.exec(header('authorization'))?.[1];
  if (keyId || !basic) return { keyId, secret };
  const text = Buffer.from(basic, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? { keyId: text, secret: '' } : { keyId: text.slice(0, colon), secret: text.slice(colon + 1) };
}

export function createKeyCheck(only?: { keyId: string; secret: string }): KeyCheck {
  const accepts = (keyId: string | undefined, secret: string | undefined): boolean =>
    only ? keyId === only.keyId && secret === only.secret : Boolean(keyId) && Boolean(secret);
  return {
    accepts,
    acceptsRequest: (request) => {
      const pair = pairOf(request);
      return accepts(pair.keyId, pair.secret);
    },
    keyIdOf: (request) => pairOf(request).keyId,
  };
}
