/**
 * One exchange for a file of conformance tests: five symbols with deep quotes ten minutes into a real session, and Alpaca's
 * own SDK as its client.
 */

import type { TradingSide } from '../../../src/simulator/contract.ts';
import type { FaultRegistry } from '../../../src/simulator/faults.ts';
import { FakeTape } from './fake-tape.ts';
import { type SdkClient, sdkClient } from './sdk.ts';
import { startExchange, temporaryFolder } from './test-exchange.ts';

type Trading = SdkClient['alpaca']['trading'];
export type PostBody = Parameters<Trading['orders']['postOrder']>[0]['postOrderRequest'];

export interface Conformance {
  url: string;
  faults: FaultRegistry;
  trading: TradingSide;
  calls: SdkClient['calls'];
  sdk: Trading;
  /** A market order for one share of IBM, changed as the test says. */
  post(body?: Partial<PostBody>): ReturnType<Trading['orders']['postOrder']>;
  /** A limit order that does not fill. */
  resting(body?: Partial<PostBody>): ReturnType<Trading['orders']['postOrder']>;
  close(): Promise<void>;
}

export const keyHeaders = { 'APCA-API-KEY-ID': 'k', 'APCA-API-SECRET-KEY': 's' };

export async function startConformance(): Promise<Conformance> {
  const folder = temporaryFolder();
  const tape = new FakeTape(['AIG', 'BAC', 'IBM', 'SPY', 'HTB']);
  const exchange = await startExchange({
    tape,
    directory: folder.path,
    settings: { notShortable: ['HTB'] },
  });
  tape.quote('IBM', [184.2, 100_000], [184.25, 100_000]);
  tape.quote('AIG', [48.5, 100_000], [48.52, 100_000]);
  tape.quote('BAC', [13.7, 500], [13.71, 500]);
  tape.quote('HTB', [10, 500], [10.01, 500]);
  tape.trade('IBM', 184.22);
  const { alpaca, calls } = sdkClient(exchange.url);
  const post = (body: Partial<PostBody> = {}) =>
    alpaca.trading.orders.postOrder({
      postOrderRequest: { symbol: 'IBM', side: 'buy', qty: '1', type: 'market', timeInForce: 'day', ...body },
    });
  return {
    url: exchange.url,
    faults: exchange.faults,
    trading: exchange.trading,
    calls,
    sdk: alpaca.trading,
    post,
    resting: (body = {}) => post({ type: 'limit', limitPrice: '100', ...body }),
    close: async () => {
      await exchange.close();
      folder.remove();
    },
  };
}

/** The refusal of a call: status, code and message as the SDK tells them. */
export async function refusal(
  call: () => Promise<unknown>,
): Promise<{ status: number; code: unknown; message: string }> {
  try {
    await call();
  } catch (error) {
    const { status, code, message } = error as { status: number; code: unknown; message: string };
    return { status, code, message };
  }
  throw new Error('the call was not refused');
}
