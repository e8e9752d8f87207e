/**
 * One market-data stream endpoint (`/v2/sip`, `/v1beta3/crypto/us` …): its market, its channels, its connection slots.
 * Guarantee: a key holds at most the allowed number of authenticated sessions here; the next one gets 406 at auth. A session
 * that went without a close handshake may keep its slot for a while (a ghost, alpaca-protocol 1).
 */
import { machineMs } from '../../lib/service/machine.ts';
import type { Market } from '../market/market.ts';
import type { StreamChannel } from './protocol.ts';

export interface EndpointOptions {
  path: string;
  feed: string;
  market: Market;
  offered: readonly StreamChannel[];
  /** Market ns by which this feed lags (delayed_sip). */
  delayNs: bigint;
  /** Is the feed in the plan? When not, auth answers 409. */
  isEntitled: boolean;
  symbolLimit: number | undefined;
  connectionLimit: number;
  /** Machine ms that an uncleanly dropped session goes on holding its slot. */
  ghostMs: number;
}

export class StreamEndpoint {
  readonly options: EndpointOptions;
  readonly offered: ReadonlySet<StreamChannel>;
  private readonly held = new Map<string, number>();
  private ghosts: { keyId: string; untilMs: number }[] = [];
  private visibleUntil = 0;

  constructor(options: EndpointOptions) {
    this.options = options;
    this.offered = new Set(options.offered);
  }

  /** Store indexes below this are public on this feed at market now (after market.pump()). */
  visible(): number {
    const { market, delayNs } = this.options;
    if (delayNs === 0n) return market.released;
    const limitNs = market.nowNs() - delayNs;
    while (this.visibleUntil < market.released && market.store.releaseNs(this.visibleUntil) <= limitNs)
      this.visibleUntil += 1;
    return this.visibleUntil;
  }

  /** Takes a slot; false when all are taken. */
  takeSlot(keyId: string): boolean {
    const now = machineMs();
    this.ghosts = this.ghosts.filter((ghost) => ghost.untilMs > now);
    const ghosts = this.ghosts.filter((ghost) => ghost.keyId === keyId).length;
    const held = this.held.get(keyId) ?? 0;
    if (held + ghosts >= this.options.connectionLimit) return false;
    this.held.set(keyId, held + 1);
    return true;
  }

  /** Gives a slot back. @param isClean did the close handshake happen? */
  giveSlot(keyId: string, isClean: boolean): void {
    this.held.set(keyId, Math.max(0, (this.held.get(keyId) ?? 0) - 1));
    if (!isClean && this.options.ghostMs > 0) {
      this.ghosts.push({ keyId, untilMs: machineMs() + this.options.ghostMs });
    }
  }
}
