/**
 * Events of a file of market data, one line at a time: an envelope, a provider message, or a frame of messages as it came over
 * the socket (a JSON array). What the core has no use for (other channels, the provider's control messages) is left out.
 */
import { type Decoded, decodeEnvelope, decodeProviderMessage, IGNORED, type RejectReason } from '../../lib/ta/index.ts';

export type FileEvent = Exclude<Decoded, RejectReason | typeof IGNORED>;

const reasons: Record<RejectReason, string> = {
  schema: 'it is neither an envelope (event_ts, channel, symbol, seq, payload) nor a provider message (T, S, t)',
  invalid_event_ts: 'its time is no UTC instant',
  time_mismatch: 'event_ts and the time of the payload differ',
  invalid_value: 'a price, size, id or time is missing or cannot be',
};

/** Reads lines; provider messages carry no number of their own and get that of their place in the file. */
export class FileEvents {
  #messages = 0;

  /** @throws Error that says what is wrong with the line */
  *ofLine(line: string): Generator<FileEvent> {
    if (line.trim() === '') return;
    const value: unknown = JSON.parse(line);
    for (const item of Array.isArray(value) ? (value as unknown[]) : [value]) {
      this.#messages += 1;
      const isMessage = typeof item === 'object' && item !== null && 'T' in item;
      const event = isMessage ? decodeProviderMessage(item, this.#messages) : decodeEnvelope(item);
      if (event === IGNORED) continue;
      if (typeof event === 'string') throw new Error(reasons[event]);
      yield event;
    }
  }
}
