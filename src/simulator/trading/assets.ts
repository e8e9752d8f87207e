/**
 * The assets that can be traded: every symbol of the tape, plus those that were named at start.
 * Guarantee: a symbol outside the list is unknown (404 on lookup, 422 on an order). All are active, marginable, fractionable
 * and easy to borrow, because a recorded tape says nothing about these; what may not be shorted is a setting.
 */
import { seededUuid } from './identity.ts';

export type ListingExchange = 'NYSE' | 'ARCA' | 'NASDAQ';

export interface Asset {
  id: string;
  symbol: string;
  exchange: ListingExchange;
  shortable: boolean;
}

/** Listing exchange by the tape of a message: A is NYSE, B Arca and regional, C Nasdaq (alpaca-protocol 1). */
const exchangeOfTape: Record<string, ListingExchange> = { A: 'NYSE', B: 'ARCA', C: 'NASDAQ' };

export class AssetList {
  readonly #bySymbol = new Map<string, Asset>();
  readonly #byId = new Map<string, Asset>();
  readonly #unlisted: Set<string>;

  constructor(symbols: Iterable<string>, notShortable: ReadonlySet<string>) {
    for (const symbol of [...new Set(symbols)].sort()) {
      // The id is a property of the symbol: the same in every run. The exchange is NYSE until the tape says otherwise.
      const id = seededUuid('asset', symbol);
      const asset: Asset = { id, symbol, exchange: 'NYSE', shortable: !notShortable.has(symbol) };
      this.#bySymbol.set(symbol, asset);
      this.#byId.set(id, asset);
    }
    this.#unlisted = new Set(this.#bySymbol.keys());
  }

  /** Symbols whose exchange is still to be read from a message. */
  needsExchange(symbol: string): boolean {
    return this.#unlisted.has(symbol);
  }

  learnExchange(symbol: string, tape: unknown): void {
    this.#unlisted.delete(symbol);
    const asset = this.#bySymbol.get(symbol);
    const exchange = exchangeOfTape[String(tape)];
    if (asset && exchange) asset.exchange = exchange;
  }

  /** By symbol or id. */
  find(nameOrId: string): Asset | undefined {
    return this.#bySymbol.get(nameOrId.toUpperCase()) ?? this.#byId.get(nameOrId.toLowerCase());
  }

  all(): Asset[] {
    return [...this.#bySymbol.values()];
  }
}

/** The asset object as answers show it. */
export function wireAsset(asset: Asset): Record<string, unknown> {
  return {
    id: asset.id,
    class: 'us_equity',
    exchange: asset.exchange,
    symbol: asset.symbol,
    name: asset.symbol,
    status: 'active',
    tradable: true,
    marginable: true,
    maintenance_margin_requirement: 30,
    margin_requirement_long: '30',
    margin_requirement_short: '30',
    shortable: asset.shortable,
    easy_to_borrow: asset.shortable,
    borrow_status: asset.shortable ? 'easy_to_borrow' : 'not_available',
    fractionable: true,
    attributes: [],
  };
}
