/**
 * Output records as they stand in the ta topics: one flat JSON object with the column names of `ta_microbars` and
 * `ta_signals`, snake_case, nulls explicit. One place for both engines.
 * `seq` is the window's end in whole seconds; (symbol, window_size, event_ts) is the key and `revision` its version.
 */
import type { BarOutput, SignalOutput } from './events.ts';
import { formatSecond } from './time.ts';

/** Version of the output records. */
export const recordVersion = 1;
/** Version of what the indicator columns mean (grows when a formula changes). */
export const featureSchemaVersion = 'torghut.ta.features.v1';

/** JSON text of a double: the shortest text that reads back as the same bits; what is no number becomes null. */
const number = (value: number | null): string => (value === null || !Number.isFinite(value) ? 'null' : String(value));

function head(symbol: string, end: number, windowSeconds: 1 | 60, ingestTs: string, runId: string): string {
  const endText = formatSecond(end);
  const size = windowSeconds === 1 ? 'PT1S' : 'PT1M';
  return (
    `{"ingest_ts":"${ingestTs}","event_ts":"${endText}","symbol":${JSON.stringify(symbol)},"seq":${end},` +
    `"is_final":true,"source":"ta","window_size":"${size}","window_step":"${size}",` +
    `"window_start":"${formatSecond(end - windowSeconds)}","window_end":"${endText}","run_id":${JSON.stringify(runId)}`
  );
}

/** @param ingestTs market now as RFC 3339; information only */
export function barRecord(bar: BarOutput, ingestTs: string, runId: string): string {
  return (
    `${head(bar.symbol, bar.end, 1, ingestTs, runId)},"o":${number(bar.open)},"h":${number(bar.high)},` +
    `"l":${number(bar.low)},"c":${number(bar.close)},"v":${number(bar.volume)},"vwap":${number(bar.vwap)},` +
    `"count":${bar.count},"unpriced":${bar.unpriced},"is_flat":${bar.isFlat},` +
    `"revision":${bar.revision},"version":${recordVersion}}`
  );
}

export function signalRecord(signal: SignalOutput, ingestTs: string, runId: string): string {
  const { values: v, quote: q } = signal;
  return (
    `${head(signal.symbol, signal.end, signal.windowSeconds, ingestTs, runId)},` +
    `"macd":${number(v.macd)},"macd_signal":${number(v.macdSignal)},"macd_hist":${number(v.macdHist)},` +
    `"ema12":${number(v.ema12)},"ema26":${number(v.ema26)},"rsi14":${number(v.rsi14)},` +
    `"boll_mid":${number(v.bollMid)},"boll_upper":${number(v.bollUpper)},"boll_lower":${number(v.bollLower)},` +
    `"vwap_session":${number(v.vwapSession)},"vwap_w5m":${number(v.vwapW5m)},` +
    `"imbalance_spread":${number(q?.spread ?? null)},"imbalance_bid_px":${number(q?.bidPrice ?? null)},` +
    `"imbalance_ask_px":${number(q?.askPrice ?? null)},"imbalance_bid_sz":${number(q?.bidSize ?? null)},` +
    `"imbalance_ask_sz":${number(q?.askSize ?? null)},"vol_realized_w60s":${number(v.volRealizedW60s)},` +
    `"microstructure_signal_v1":null,"n_bars":${v.bars},"is_warm":${signal.isWarm},` +
    `"signal_quality_flag":"${signal.quality}","feature_schema_version":"${featureSchemaVersion}",` +
    `"revision":${signal.revision},"version":${recordVersion}}`
  );
}
