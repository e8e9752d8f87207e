/** Records of the ta topics as lib/ta writes them, for tests of the store and the sink. */

import type { LogRecord } from '../../src/lib/log/port.ts';
import type { BarOutput, SignalOutput } from '../../src/lib/ta/events.ts';
import { barRecord, signalRecord } from '../../src/lib/ta/record.ts';

export const barsTopic = 'torghut.ta.bars.1s.v1';
export const signalsTopic = 'torghut.ta.signals.v1';

export function bar(symbol: string, end: number, changes: Partial<BarOutput> = {}): BarOutput {
  return {
    kind: 'bar',
    symbol,
    end,
    revision: 0,
    open: 100.1,
    high: 100.14,
    low: 100.06,
    close: 100.06,
    volume: 100,
    vwap: 100.096,
    count: 3,
    unpriced: 0,
    isFlat: false,
    ...changes,
  };
}

export function signal(symbol: string, end: number, changes: Partial<SignalOutput> = {}): SignalOutput {
  return {
    kind: 'signal',
    symbol,
    windowSeconds: 1,
    end,
    revision: 0,
    values: {
      macd: 0.1,
      macdSignal: 0.05,
      macdHist: 0.05,
      ema12: 100.2,
      ema26: 100.1,
      rsi14: 57.441196,
      bollMid: null,
      bollUpper: null,
      bollLower: null,
      vwapSession: 100.9,
      vwapW5m: null,
      volRealizedW60s: 0.002,
      bars: 19,
    },
    quote: { spread: 0.02, bidPrice: 100.05, askPrice: 100.07, bidSize: 2.5, askSize: 300 },
    isWarm: false,
    quality: 'limited_history',
    ...changes,
  };
}

const ingestTs = '2013-10-08T13:30:01.123456789Z';

export function recordText(output: BarOutput | SignalOutput, runId: string): string {
  return output.kind === 'bar' ? barRecord(output, ingestTs, runId) : signalRecord(output, ingestTs, runId);
}

/** A record as a reader of the log gives it. */
export function logRecord(
  output: BarOutput | SignalOutput,
  partition: number,
  offset: bigint,
  runId = 'r1',
): LogRecord {
  return {
    topic: output.kind === 'bar' ? barsTopic : signalsTopic,
    partition,
    offset,
    key: output.symbol,
    value: Buffer.from(recordText(output, runId)),
    timestampMs: output.end * 1000,
    headers: {},
  };
}
