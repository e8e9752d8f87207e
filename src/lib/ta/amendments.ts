/**
 * Corrections and cancels of one symbol, held until the trade that they name can no longer change.
 * Guarantees: what a set of trades and amendments makes does not depend on their arrival (an amendment may come before its
 * trade; several of one trade apply in order of their times); an amendment takes effect at the first market second at or
 * after its time; one that never finds its trade is given out, not lost.
 */
import { flagsOfConditions, unfilteredFlags } from './conditions.ts';
import type { Amendment } from './events.ts';
import { bucketOf } from './quotes.ts';
import { isRegularSession } from './session.ts';
import type { HeldTrade, TradeOverlay, Window } from './window.ts';

export interface HeldAmendment {
  event: Amendment;
  /** Market second from which it counts. */
  due: number;
  /** End of the window that holds its trade; -1 while no trade is known. */
  targetEnd: number;
}

export class AmendmentBook {
  list: HeldAmendment[] = [];
  private readonly isFiltered: boolean;

  constructor(isFiltered: boolean) {
    this.isFiltered = isFiltered;
  }

  /** Holds an amendment. @returns false when it is held already */
  add(event: Amendment, final: number): boolean {
    let i = this.list.length;
    for (let k = 0; k < this.list.length; k++) {
      const other = (this.list[k] as HeldAmendment).event;
      const isSame = other.kind === event.kind && other.exchange === event.exchange && other.id === event.id;
      const order = other.sec - event.sec || other.nano - event.nano;
      if (isSame && order === 0) return false;
      if (i === this.list.length && (order || other.seq - event.seq) > 0) i = k;
    }
    const due = Math.max(bucketOf(event.sec, event.nano), final + 1);
    this.list.splice(i, 0, { event, due, targetEnd: -1 });
    return true;
  }

  /** The next second after `final` at which an amendment takes effect. */
  nextDue(final: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const held of this.list) if (held.due > final && held.due < next) next = held.due;
    return next;
  }

  /** Does an amendment name this trade? */
  names(exchange: string, id: number): boolean {
    return this.list.some((held) => held.event.id === id && held.event.exchange === exchange);
  }

  /**
   * Applies everything due up to a second to the trades of the windows, from the trades as received.
   * @returns the end of the earliest window that changed, Infinity when none did
   */
  apply(second: number, windows: readonly Window[]): number {
    const before = new Map<HeldTrade, { overlay: TradeOverlay; end: number }>();
    for (const window of windows) {
      if (!window.isAmended) continue;
      for (const trade of window.trades) {
        if (trade.overlay === null) continue;
        before.set(trade, { overlay: trade.overlay, end: window.end });
        trade.overlay = null;
      }
      window.isAmended = false;
    }
    const after = new Map<HeldTrade, number>();
    for (const held of this.list) {
      held.targetEnd = -1;
      if (held.due > second) continue;
      const found = this.find(held.event, windows);
      if (!found) continue;
      held.targetEnd = found.window.end;
      found.trade.overlay = this.overlayOf(held.event, found.trade, found.window);
      found.window.isAmended = true;
      after.set(found.trade, found.window.end);
    }
    let earliest = Number.POSITIVE_INFINITY;
    for (const [trade, end] of after) {
      const old = before.get(trade)?.overlay ?? null;
      if (end < earliest && !isSameOverlay(old, trade.overlay)) earliest = end;
    }
    for (const [trade, old] of before) if (trade.overlay === null && old.end < earliest) earliest = old.end;
    return earliest;
  }

  private find(event: Amendment, windows: readonly Window[]): { window: Window; trade: HeldTrade } | undefined {
    for (const window of windows) {
      for (const trade of window.trades) {
        if (trade.exchange !== event.exchange || trade.overlay?.isCancelled) continue;
        if ((trade.overlay?.id ?? trade.id) === event.id) return { window, trade };
      }
    }
    return undefined;
  }

  private overlayOf(event: Amendment, trade: HeldTrade, window: Window): TradeOverlay {
    if (event.kind === 'cancel') {
      return { isCancelled: true, id: trade.id, price: trade.price, size: trade.size, flags: trade.flags };
    }
    const flags = this.isFiltered
      ? flagsOfConditions(event.conditions, event.tape, isRegularSession(window.end - 1))
      : unfilteredFlags;
    return { isCancelled: false, id: event.newId, price: event.price, size: event.size, flags };
  }

  /**
   * Lets go of amendments whose trade's window was forgotten (up to `forgottenEnd`) and of those that found no trade in time.
   * @returns the latter
   */
  expire(final: number, forgottenEnd: number, latenessSeconds: number): Amendment[] {
    const unmatched: Amendment[] = [];
    this.list = this.list.filter((held) => {
      if (held.targetEnd >= 0) return held.targetEnd > forgottenEnd;
      if (final < held.due + latenessSeconds) return true;
      unmatched.push(held.event);
      return false;
    });
    return unmatched;
  }
}

function isSameOverlay(a: TradeOverlay | null, b: TradeOverlay | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.isCancelled === b.isCancelled && a.id === b.id && a.price === b.price && a.size === b.size && a.flags === b.flags
  );
}
