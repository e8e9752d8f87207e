/**
 * Ids of orders, executions, assets and events: derived from a seed and a counter, never random.
 * Guarantee: the same seed and the same order of requests give the same ids, also over a restart, because every counter
 * can be read from the journal.
 */
import { createHash } from 'node:crypto';

/** A version-4 shaped uuid from a seed and the name of a thing. */
export function seededUuid(seed: string, name: string): string {
  const bytes = createHash('sha256').update(seed).update('\u001f').update(name).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

const crockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** A ULID: 48 bits of market milliseconds, then 80 bits that hold the event's number, so text order is event order. */
export function eventUlid(marketNs: bigint, sequence: number): string {
  let value = ((marketNs / 1_000_000n) << 80n) | BigInt(sequence);
  let text = '';
  for (let i = 0; i < 26; i++) {
    text = crockford[Number(value & 31n)] + text;
    value >>= 5n;
  }
  return text;
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}
