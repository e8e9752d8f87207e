/**
 * Keeps what one connection is subscribed to in step with what is wanted: first subscription, later changes, what the server
 * did not grant. Knows no socket. Guarantees: in a change everything is unsubscribed before anything is added, so a plan's limit
 * is not passed on the way; what is missing is asked for again three times, 1, 5 and 30 s apart (machine time), and after a
 * refusal for the limit not at all; then the session goes on with what was granted (spec ingest 2.2).
 */
import {
  type MarketChannel,
  missingFrom,
  resubscribeDelaysMs,
  type Subscription,
  subscribeMessages,
  subscriptionOf,
  withoutSymbols,
} from './subscription.ts';

export interface SubscriberOptions {
  channels: readonly MarketChannel[];
  symbols: readonly string[];
  batchSize: number;
  send(message: Record<string, unknown>): void;
  /** Everything asked for was answered. @param missing what was asked for and not granted */
  onSettled(missing: Map<MarketChannel, Set<string>>): void;
}

const optionalChannels: ReadonlySet<MarketChannel> = new Set(['statuses', 'lulds', 'updatedBars']);

export class Subscriber {
  readonly #options: SubscriberOptions;
  #symbols: readonly string[];
  /** Channels the server still takes; `#options.channels` is what counts as wanted. */
  #channels: readonly MarketChannel[];
  #awaited = 0;
  #retries = 0;
  #mayRetry = true;
  #timer: NodeJS.Timeout | undefined;
  #acknowledged: Record<string, unknown> = {};

  constructor(options: SubscriberOptions) {
    this.#options = options;
    this.#symbols = options.symbols;
    this.#channels = options.channels;
  }

  begin(): void {
    this.#ask('subscribe', this.#wanted());
  }

  #wanted(): Subscription {
    return subscriptionOf(this.#channels, this.#symbols);
  }

  #ask(action: 'subscribe' | 'unsubscribe', part: Subscription): void {
    for (const message of subscribeMessages(part, this.#options.batchSize, action)) {
      this.#awaited += 1;
      this.#options.send(message);
    }
  }

  /** The symbols wanted from now on; unsubscribes first. Takes effect on the next connection when this one has not begun. */
  change(symbols: readonly string[], isBegun: boolean): void {
    const before = new Set(this.#symbols);
    const after = new Set(symbols);
    this.#symbols = symbols;
    if (!isBegun) return;
    clearTimeout(this.#timer);
    this.#retries = 0;
    this.#mayRetry = true;
    const removed = [...before].filter((symbol) => !after.has(symbol));
    const added = [...after].filter((symbol) => !before.has(symbol));
    // What was refused before may fit now.
    const missing = withoutSymbols(missingFrom(this.#wanted(), this.#acknowledged), added);
    if (removed.length > 0) this.#ask('unsubscribe', subscriptionOf(this.#channels, removed));
    if (added.length > 0) this.#ask('subscribe', subscriptionOf(this.#channels, added));
    if (missing.size > 0) this.#ask('subscribe', missing);
  }

  /** An acknowledgement: the whole current state. */
  acknowledged(raw: string): void {
    this.#acknowledged = JSON.parse(raw) as Record<string, unknown>;
    this.#answered();
  }

  /** A subscribe was refused for the plan's limit: what is there stays, nothing is asked for again. */
  refused(): void {
    this.#mayRetry = false;
    this.#answered();
  }

  #answered(): void {
    this.#awaited = Math.max(0, this.#awaited - 1);
    if (this.#awaited > 0) return;
    const missing = missingFrom(this.#wanted(), this.#acknowledged);
    const delay = resubscribeDelaysMs[this.#retries];
    if (missing.size === 0 || delay === undefined || !this.#mayRetry) {
      this.#settle();
      return;
    }
    this.#retries += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask('subscribe', missing), delay);
  }

  #settle(): void {
    clearTimeout(this.#timer);
    // Also what was given up (a channel this feed does not offer) is missing.
    this.#options.onSettled(missingFrom(subscriptionOf(this.#options.channels, this.#symbols), this.#acknowledged));
  }

  /** The feed does not offer a channel: goes on without the optional ones. @returns false when there are none to leave out */
  dropOptional(): boolean {
    const rest = this.#channels.filter((channel) => !optionalChannels.has(channel));
    if (rest.length === this.#channels.length) return false;
    this.#channels = rest;
    this.#awaited = 0;
    this.begin();
    return true;
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
