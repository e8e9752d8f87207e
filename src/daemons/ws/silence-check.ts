/**
 * Tells genuine silence from a mute socket. A socket may answer pings and bring nothing (alpaca-protocol 1, "connected but
 * mute"), so an answered ping alone does not prove that nothing happened: beyond a short silence REST has to confirm it.
 * Guarantees: progress never runs more than `SILENCE_MS` of market time ahead of what was received or confirmed; data that REST
 * knows and the socket did not bring before an answered ping end the connection, and the repair fills the gap.
 */
import type { MarketRest } from '../../lib/alpaca/market-rest.ts';
import { tradeIdentity } from '../../lib/market/identity.ts';
import { parseTimestampNs } from '../../lib/market/time.ts';
import { NS_PER_MS } from '../../lib/service/clock.ts';
import { codeOf } from '../../lib/service/errors.ts';
import type { RecordMaker } from './records.ts';

/** Market ms of silence that need no confirmation: late prints by so much still make a revision. */
export const SILENCE_MS = 5_000;
/** What happened this shortly before the ping may still be on its way (market ns). */
const MARGIN_NS = 1_000_000_000n;

export interface SilenceCheckOptions {
  rest: MarketRest;
  symbols: readonly string[];
  batchSize: number;
  records: RecordMaker;
  /** Market ms at which the newest message was received. */
  lastDataMs(): number;
  /** Event time of the newest message, ms. */
  lastEventMs(): number;
  /** REST knows data that the socket should have brought. */
  onMute(detail: string): void;
}

export interface SilenceCheck {
  /** How far progress may go, given what an answered ping proves; asks REST when the silence grows long. */
  confirmed(provenNs: bigint): bigint;
  /** A new connection delivers from this market time on; what lies before it is the repair's. */
  begin(fromNs: bigint): void;
}

export function createSilenceCheck(options: SilenceCheckOptions): SilenceCheck {
  let beganNs = 0n;
  let confirmedNs = 0n;
  let asking: AbortController | undefined;

  const hasUnseen = async (fromNs: bigint, toNs: bigint, signal: AbortSignal): Promise<boolean> => {
    for (let i = 0; i < options.symbols.length; i += options.batchSize) {
      const symbols = options.symbols.slice(i, i + options.batchSize);
      for (const kind of ['trades', 'quotes'] as const) {
        const found = await options.rest.history({ kind, symbols, fromNs, toNs }, signal);
        const isUnseen = found.some((message) => {
          const at = parseTimestampNs(message.time);
          // What was received in the meantime is not silent.
          if (at === undefined || at <= fromNs || at > toNs || at <= BigInt(options.lastEventMs()) * NS_PER_MS)
            return false;
          return kind === 'quotes' || !options.records.seenTrades.has(tradeIdentity(message));
        });
        if (isUnseen) return true;
      }
    }
    return false;
  };

  const ask = async (provenNs: bigint): Promise<void> => {
    const control = new AbortController();
    asking = control;
    // Also events dated like the newest one count as received; only later ones can be missing.
    const newestNs = BigInt(options.lastEventMs() + 1) * NS_PER_MS;
    const fromNs = newestNs > beganNs ? newestNs : beganNs;
    try {
      const isMute = await hasUnseen(fromNs, provenNs - MARGIN_NS, control.signal);
      if (control.signal.aborted) return;
      if (isMute) options.onMute('REST knows messages that the open socket did not bring');
      else confirmedNs = provenNs;
    } catch (error) {
      // A plan without recent history cannot confirm anything: the read-idle limit alone decides then.
      if (codeOf(error) === 'market_data_refused') confirmedNs = provenNs;
    } finally {
      if (asking === control) asking = undefined;
    }
  };

  return {
    confirmed: (provenNs) => {
      const receivedNs = BigInt(options.lastDataMs() + SILENCE_MS) * NS_PER_MS;
      const limitNs = receivedNs > confirmedNs ? receivedNs : confirmedNs;
      if (provenNs <= limitNs) return provenNs;
      if (asking === undefined) void ask(provenNs);
      return limitNs;
    },
    begin: (fromNs) => {
      asking?.abort();
      asking = undefined;
      beganNs = fromNs;
      confirmedNs = fromNs;
    },
  };
}
