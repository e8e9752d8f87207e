/**
 * Frames of the market stream: an array of messages as JSON text or MessagePack.
 * Guarantees: JSON frames carry the lines of the source byte for byte; MessagePack maps begin with T, and `t` is the
 * timestamp extension with all nine digits (alpaca-protocol 1; ingest 1.2).
 */
import { decode, ExtData, encode, encodeTimeSpecToTimestamp } from '@msgpack/msgpack';
import { formatTimestampNs, parseTimestampNs } from '../../lib/market/time.ts';

export type Encoding = 'json' | 'msgpack';

const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']');

/** Frames grow to about this size; a busy instant makes several. */
export const FRAME_BYTES = 32_768;

function timestampExtension(text: string): ExtData | string {
  const ns = parseTimestampNs(text);
  if (ns === undefined) return text;
  return new ExtData(
    -1,
    encodeTimeSpecToTimestamp({ sec: Number(ns / 1_000_000_000n), nsec: Number(ns % 1_000_000_000n) }),
  );
}

/** One frame of data lines. */
export function dataFrame(lines: readonly Buffer[], encoding: Encoding): Buffer {
  if (encoding === 'json') {
    const parts: Buffer[] = [OPEN];
    lines.forEach((line, index) => {
      if (index > 0) parts.push(COMMA);
      parts.push(line);
    });
    parts.push(CLOSE);
    return Buffer.concat(parts);
  }
  const messages = lines.map((line) => {
    const message = JSON.parse(line.toString('utf8')) as Record<string, unknown>;
    if (typeof message.t === 'string') message.t = timestampExtension(message.t);
    return message;
  });
  return Buffer.from(encode(messages));
}

/** A control message, alone in its frame. */
export function controlFrame(message: Record<string, unknown>, encoding: Encoding): Buffer {
  return encoding === 'json' ? Buffer.from(JSON.stringify([message])) : Buffer.from(encode([message]));
}

/** A client's message; undefined when it is no object in either encoding. */
export function decodeClientMessage(
  data: Buffer,
  isBinary: boolean,
  encoding: Encoding,
): Record<string, unknown> | undefined {
  try {
    const value: unknown = isBinary && encoding === 'msgpack' ? decode(data) : JSON.parse(data.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** A line whose `t` is moved by a clock skew in ms. */
export function skewedLine(line: Buffer, ms: number): Buffer {
  const text = line.toString('utf8');
  return Buffer.from(
    text.replace(/,"t":"([^"]+)"/, (whole, time: string) => {
      const ns = parseTimestampNs(time);
      return ns === undefined ? whole : `,"t":"${formatTimestampNs(ns + BigInt(Math.round(ms)) * 1_000_000n)}"`;
    }),
  );
}

/** The first half of an unmasked, uncompressed text or binary frame: what a connection cut in a frame leaves behind. */
export function halfFrame(payload: Buffer, encoding: Encoding): Buffer {
  const header = Buffer.alloc(10);
  header[0] = 0x80 | (encoding === 'json' ? 1 : 2);
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([header, payload.subarray(0, payload.length >> 1)]);
}
