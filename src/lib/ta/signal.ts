/** Puts a signal together and tells whether its bytes changed; common to the 1-second and the 1-minute branch. */
import { warmFrom } from './branch.ts';
import type { IndicatorValues, QuoteJoin, SignalOutput, SignalQuality } from './events.ts';
import { isSameJoin } from './quotes.ts';

function qualityOf(values: IndicatorValues, quote: QuoteJoin | null): SignalQuality {
  if (values.bars < warmFrom.macd) return 'limited_history';
  if (quote === null) return 'no_quote';
  if (quote.spread === null || quote.spread <= 0) return 'crossed_quote';
  return 'ok';
}

/** A row without values: corrections took every price of its window back. */
const withdrawnValues: IndicatorValues = {
  macd: null,
  macdSignal: null,
  macdHist: null,
  ema12: null,
  ema26: null,
  rsi14: null,
  bollMid: null,
  bollUpper: null,
  bollLower: null,
  vwapSession: null,
  vwapW5m: null,
  volRealizedW60s: null,
  bars: 0,
};

function isSameSignal(a: SignalOutput, b: SignalOutput): boolean {
  const x = a.values;
  const y = b.values;
  return (
    x.macd === y.macd &&
    x.macdSignal === y.macdSignal &&
    x.ema12 === y.ema12 &&
    x.ema26 === y.ema26 &&
    x.rsi14 === y.rsi14 &&
    x.bollMid === y.bollMid &&
    x.bollUpper === y.bollUpper &&
    x.bollLower === y.bollLower &&
    x.vwapSession === y.vwapSession &&
    x.vwapW5m === y.vwapW5m &&
    x.volRealizedW60s === y.volRealizedW60s &&
    x.bars === y.bars &&
    a.quality === b.quality &&
    isSameJoin(a.quote, b.quote)
  );
}

/**
 * The next record of a signal's key, or the previous one itself when nothing changed.
 * @param values null withdraws the row
 */
export function nextSignal(
  previous: SignalOutput | null,
  symbol: string,
  windowSeconds: 1 | 60,
  end: number,
  values: IndicatorValues | null,
  quote: QuoteJoin | null,
): SignalOutput {
  const next: SignalOutput = {
    kind: 'signal',
    symbol,
    windowSeconds,
    end,
    revision: 0,
    values: values ?? withdrawnValues,
    quote: values === null ? null : quote,
    isWarm: values !== null && values.bars >= warmFrom.macd,
    quality: values === null ? 'withdrawn' : qualityOf(values, quote),
  };
  if (previous === null) return next;
  if (isSameSignal(previous, next)) return previous;
  next.revision = previous.revision + 1;
  return next;
}
