/**
 * What one connection has subscribed to. Subscribing adds, unsubscribing subtracts, the reply is always the whole state;
 * corrections and cancelErrors come and go with trades (alpaca-protocol 1).
 */
import { type KindLetter, kindLetters } from '../market/message-line.ts';
import { channelOfKind, channels, foreignChannels, type StreamChannel } from './protocol.ts';

/** Result of a subscription message: undefined when done, else the error code to send. */
export type SubscribeError = 400 | 405 | 410;

export interface SubscriptionRules {
  /** Channels of this feed. */
  offered: ReadonlySet<StreamChannel>;
  /** Most symbols over trades and quotes together; undefined without a limit. */
  symbolLimit: number | undefined;
}

export class Subscription {
  private readonly lists = new Map<StreamChannel, Set<string>>(channels.map((channel) => [channel, new Set<string>()]));
  private readonly byCode: Set<string>[];
  private readonly rules: SubscriptionRules;

  constructor(rules: SubscriptionRules) {
    this.rules = rules;
    this.byCode = kindLetters.map((letter: KindLetter) => this.list(channelOfKind[letter]));
  }

  private list(channel: StreamChannel): Set<string> {
    return this.lists.get(channel) as Set<string>;
  }

  /** Applies a subscribe or unsubscribe message, wholly or not at all. */
  apply(message: Record<string, unknown>): SubscribeError | undefined {
    const named: [StreamChannel, string[]][] = [];
    for (const [key, value] of Object.entries(message)) {
      if (key === 'action') continue;
      if (foreignChannels.includes(key)) {
        if (Array.isArray(value) && value.length === 0) continue;
        return 410;
      }
      const channel = channels.find((name) => name === key);
      if (!channel) continue;
      if (!Array.isArray(value) || !value.every((symbol) => typeof symbol === 'string' && symbol !== '')) return 400;
      if (!this.rules.offered.has(channel) && value.length > 0) return 410;
      named.push([channel, value as string[]]);
      if (channel === 'trades') named.push(['corrections', value as string[]], ['cancelErrors', value as string[]]);
    }
    if (named.length === 0) return 400;
    const isAdding = message.action === 'subscribe';
    if (isAdding && this.exceedsLimit(named)) return 405;
    for (const [channel, symbols] of named) {
      if (!this.rules.offered.has(channel)) continue;
      for (const symbol of symbols) {
        if (isAdding) this.list(channel).add(symbol);
        else this.list(channel).delete(symbol);
      }
    }
    return undefined;
  }

  private exceedsLimit(named: readonly [StreamChannel, string[]][]): boolean {
    const { symbolLimit } = this.rules;
    if (symbolLimit === undefined) return false;
    let total = 0;
    for (const channel of ['trades', 'quotes'] as const) {
      const all = new Set(this.list(channel));
      for (const [name, symbols] of named) if (name === channel) for (const symbol of symbols) all.add(symbol);
      if (all.has('*')) return true;
      total += all.size;
    }
    return total > symbolLimit;
  }

  wants(code: number, symbol: string): boolean {
    const list = this.byCode[code] as Set<string>;
    return list.size > 0 && (list.has(symbol) || list.has('*'));
  }

  get isEmpty(): boolean {
    return this.byCode.every((list) => list.size === 0);
  }

  /** The subscription message; imbalances are listed only where they are subscribed. */
  describe(): Record<string, unknown> {
    const message: Record<string, unknown> = { T: 'subscription' };
    for (const channel of channels) {
      if (channel === 'imbalances' && this.list(channel).size === 0) continue;
      message[channel] = [...this.list(channel)];
    }
    return message;
  }
}
