/**
 * Market timestamps: RFC 3339 text with up to nine fraction digits, kept as nanoseconds (design 4).
 * Facts: Alpaca cuts trailing zeros, trade updates mix `Z` with numeric offsets (alpaca-protocol 1 and 3).
 */

const pattern = /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d{2}:?\d{2})?$/;

/** Nanoseconds since the epoch of an RFC 3339 text (no zone means UTC); undefined when it is none. */
export function parseTimestampNs(text: string): bigint | undefined {
  const match = pattern.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  if (!Number.isFinite(ms)) return undefined;
  // Date.UTC rolls over: 2026-02-31 is no date.
  const date = new Date(ms);
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  let ns = BigInt(ms) * 1_000_000n + BigInt((fraction ?? '').padEnd(9, '0'));
  if (zone && zone !== 'Z' && zone !== 'z') {
    const sign = zone[0] === '-' ? 1n : -1n;
    const digits = zone.slice(1).replace(':', '');
    ns += sign * (BigInt(digits.slice(0, 2)) * 60n + BigInt(digits.slice(2))) * 60_000_000_000n;
  }
  return ns;
}

/** RFC 3339 UTC text of nanoseconds, trailing zeros cut as Alpaca does. */
export function formatTimestampNs(ns: bigint): string {
  const seconds = ns / 1_000_000_000n - (ns < 0n && ns % 1_000_000_000n !== 0n ? 1n : 0n);
  const fraction = ns - seconds * 1_000_000_000n;
  const text = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return fraction === 0n ? `${text}Z` : `${text}.${fraction.toString().padStart(9, '0').replace(/0+$/, '')}Z`;
}
