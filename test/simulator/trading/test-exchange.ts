/**
 * A trading side on a hand-moved tape behind a real HTTP server, and the same thing without a server for tests of the
 * engine alone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { WebSocketServer } from 'ws';
import type { TradingSide } from '../../../src/simulator/contract.ts';
import { createFaultRegistry, type FaultRegistry } from '../../../src/simulator/faults.ts';
import { createKeyCheck } from '../../../src/simulator/keys.ts';
import { AssetList } from '../../../src/simulator/trading/assets.ts';
import { Broker } from '../../../src/simulator/trading/broker.ts';
import { BrokerState } from '../../../src/simulator/trading/broker-state.ts';
import { MatchingEngine } from '../../../src/simulator/trading/engine.ts';
import { createTradingSide, type TradingSettings } from '../../../src/simulator/trading/index.ts';
import { type Journal, openJournal } from '../../../src/simulator/trading/journal.ts';
import { OrderLog } from '../../../src/simulator/trading/order-log.ts';
import { type FakeTape, tapeClock } from './fake-tape.ts';

export const KEY = 'SIMKEY';
export const SECRET = 'simsecret';

export interface TestExchange {
  url: string;
  port: number;
  faults: FaultRegistry;
  trading: TradingSide;
  close(): Promise<void>;
}

export interface ExchangeOptions {
  tape: FakeTape;
  directory: string;
  settings?: Partial<TradingSettings>;
  only?: { keyId: string; secret: string };
  port?: number;
}

export async function startExchange(options: ExchangeOptions): Promise<TestExchange> {
  const faults = createFaultRegistry(1);
  const keys = createKeyCheck(options.only);
  const log = pino({ level: process.env.LOG_LEVEL ?? 'silent' });
  const trading = await createTradingSide({ ...options, clock: tapeClock(options.tape), faults, keys, log });
  const server = createServer((request, response) => {
    void trading.handleHttp(request, response, new URL(request.url ?? '/', 'http://localhost')).then((isDone) => {
      if (!isDone) response.writeHead(404).end();
    });
  });
  const sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (webSocket) => trading.handleStream(webSocket, request));
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    faults,
    trading,
    close: async () => {
      await trading.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A folder of the test's own; call `remove` at the end. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'torghut-trading-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface BareBroker {
  tape: FakeTape;
  broker: Broker;
  engine: MatchingEngine;
  state: BrokerState;
  journal: Journal;
  log: OrderLog;
  /** Events as the stream would send them, in order: `event symbol`. */
  events: { event: string; orderId: string; seq: number }[];
}

/** A broker without HTTP, on a journal in a folder; the same folder again is a restart. */
export function bareBroker(directory: string, tape: FakeTape, cash = '100000', multiplier: 1 | 2 = 2): BareBroker {
  const state = new BrokerState();
  const journal = openJournal(directory, (entry) => state.apply(entry));
  const log = new OrderLog(state, journal);
  if (journal.last === 0)
    log.append('started', tape.nowNs(), { version: 1, start: { seed: 'test', cash, multiplier } });
  const engine = new MatchingEngine({ tape, log, assets: new AssetList(tape.symbols(), new Set(['HTB'])) });
  const events: BareBroker['events'] = [];
  log.subscribe((update) => events.push({ event: update.event, orderId: update.order.id, seq: update.seq }));
  tape.onEvent((event) => engine.onEvent(event));
  engine.resume();
  return { tape, broker: new Broker(engine, log), engine, state, journal, log, events };
}
