/**
 * The seam inside the simulator: the market side (tape, streams, history, server) and the trading side (accounts, orders,
 * matching, trade_updates) meet only here.
 * Guarantees: the tape never shows anything that market now has not reached; a listener sees each event once, in release
 * order. Facts: alpaca-protocol 1 to 3.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Clock } from '../lib/service/clock.ts';
import type { FaultRegistry } from './faults.ts';

/** Best bid and offer; a price of 0 means that there is none on that side. Sizes in shares. */
export interface SimQuote {
  symbol: string;
  bidPrice: number;
  bidSize: number;
  askPrice: number;
  askSize: number;
  eventNs: bigint;
}

export interface SimTrade {
  symbol: string;
  id: number;
  exchange: string;
  price: number;
  size: number;
  conditions: readonly string[];
  eventNs: bigint;
}

export type TapeEventKind =
  | 'trade'
  | 'quote'
  | 'bar'
  | 'updatedBar'
  | 'dailyBar'
  | 'status'
  | 'luld'
  | 'correction'
  | 'cancel'
  | 'imbalance';

/** One released event. The parsed forms are made when asked for: most events interest nobody. */
export interface TapeEvent {
  kind: TapeEventKind;
  symbol: string;
  /** Time of the event itself (`t` of the message). */
  eventNs: bigint;
  /** Market time at which it became public. */
  releaseNs: bigint;
  /** The quote, when kind is 'quote'. */
  quote(): SimQuote | undefined;
  /** The trade, when kind is 'trade'. */
  trade(): SimTrade | undefined;
  /** The whole message as parsed JSON (Alpaca's field names, with T and S). */
  message(): Record<string, unknown>;
}

/** What the trading side may know of the market. */
export interface MarketTape {
  /** Market now, nanoseconds. */
  nowNs(): bigint;
  /**
   * Releases at once everything that market now has passed and returns market now, so that a request is ordered after it
   * whatever the machine's timers did. The trading side calls it before each request.
   */
  catchUp(): bigint;
  /** The newest released quote; inside a listener: as of the event being delivered. */
  lastQuote(symbol: string): SimQuote | undefined;
  lastTrade(symbol: string): SimTrade | undefined;
  /** Is trading in the symbol halted by the newest released status message (sc `H`, `2` or `P`)? */
  isHalted(symbol: string): boolean;
  /** Symbols of the source, sorted. */
  symbols(): readonly string[];
  /**
   * Calls the listener for each event that market now passes from here on: exactly once, in release order, synchronously.
   * What passed before the registration (also while a killed simulator was away) is not delivered. Returns the removal.
   */
  onEvent(listener: (event: TapeEvent) => void): () => void;
}

export interface RouteDescription {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'WS';
  /** Path with `{name}` for variable parts. */
  path: string;
  describe: string;
}

/** Who may come in: any non-empty pair, or exactly the configured one. */
export interface KeyCheck {
  accepts(keyId: string | undefined, secret: string | undefined): boolean;
  /** Reads and checks APCA-API-KEY-ID and APCA-API-SECRET-KEY (or basic authorization) of a request. */
  acceptsRequest(request: IncomingMessage): boolean;
  /** The key id of a request, for limits per account; empty when there is none. */
  keyIdOf(request: IncomingMessage): string;
}

export interface TradingSideOptions {
  tape: MarketTape;
  clock: Clock;
  /** Folder of the trading journal (exists). */
  directory: string;
  faults: FaultRegistry;
  keys: KeyCheck;
  log: Logger;
}

export interface TradingSide {
  /** Answers a request of its own paths (trading REST, /_sim/journal) and returns true; false leaves it to others. */
  handleHttp(request: IncomingMessage, response: ServerResponse, url: URL): Promise<boolean>;
  /** Takes over a WebSocket upgraded at /stream. The server answers no pings for it: `autoPong` is on. */
  handleStream(socket: WebSocket, request: IncomingMessage): void;
  routes(): readonly RouteDescription[];
  /** Goes into /_sim/status under `trading`; `orders` of it (a count) also at the top level. */
  status(): Record<string, unknown> & { orders: number };
  close(): Promise<void>;
}

/** The export of src/simulator/trading/index.ts. */
export type CreateTradingSide = (options: TradingSideOptions) => Promise<TradingSide>;
