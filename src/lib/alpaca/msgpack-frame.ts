/**
 * MessagePack frames of the market stream, turned into the JSON text of the same messages: everything behind the decoder
 * sees one form. Facts: times are extension −1 in its 4, 8 and 12 byte forms (spec ingest 1.2); integers beyond 2^53 occur as
 * trade ids and must keep their digits.
 */
import { ExtensionCodec, decode as unpack } from '@msgpack/msgpack';
import { formatTimestampNs } from '../market/time.ts';

const codec = new ExtensionCodec();
codec.register({
  type: -1,
  encode: () => null,
  decode: (data) => formatTimestampNs(timestampNs(Buffer.from(data.buffer, data.byteOffset, data.byteLength))),
});

function timestampNs(data: Buffer): bigint {
  const second = 1_000_000_000n;
  if (data.length === 4) return BigInt(data.readUInt32BE(0)) * second;
  if (data.length === 8) {
    const both = data.readBigUInt64BE(0);
    return (both & 0x3ffffffffn) * second + (both >> 34n);
  }
  if (data.length === 12) return data.readBigInt64BE(4) * second + BigInt(data.readUInt32BE(0));
  throw new Error('a timestamp of an unknown length');
}

/** JSON text of a decoded value; 64-bit integers are written with all their digits. */
function jsonText(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${jsonText(item)}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value ?? null);
}

/** @throws Error when the bytes are no MessagePack */
export function msgpackFrameToJson(frame: Uint8Array): string {
  return jsonText(unpack(frame, { extensionCodec: codec, useBigInt64: true }));
}
