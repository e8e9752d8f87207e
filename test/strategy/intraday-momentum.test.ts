import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCatalog } from '../../src/lib/strategy/catalog.ts';
import { type EvaluationState, emptyEvaluation, evaluateSignal } from '../../src/lib/strategy/evaluate.ts';
import type { StrategySignal } from '../../src/lib/strategy/signal.ts';

const catalog = (params: string) => {
  const text = `- {name: m, enabled: true, strategy_type: intraday_tsmom, base_timeframe: 1Min, params: ${params}}`;
  const result = parseCatalog(text);
  if (!result.ok) throw new Error(JSON.stringify(result.mistakes));
  return result.catalog.entries;
};

interface Bar {
  /** vwap_w5m over vwap_session, basis points. */
  bps: number | null;
  trend?: number;
  rsi?: number | null;
  volatility?: number | null;
}

const signalOf = ({ bps, trend = Math.sign(bps ?? 0), rsi = 55, volatility = 0.001 }: Bar, i: number) =>
  ({
    symbol: 'IBM',
    windowSize: 'PT1M',
    eventTsMs: 1_381_238_000_000 + i * 60_000,
    revision: 0,
    macd: null,
    macdSignal: null,
    rsi14: rsi,
    features: {
      vwap_session: 100,
      vwap_w5m: bps === null ? null : 100 * (1 + bps / 10_000),
      ema12: 100 + trend,
      ema26: 100,
      vol_realized_w60s: volatility,
    },
  }) satisfies StrategySignal;

function run(params: string, bars: readonly Bar[]): string[] {
  const entries = catalog(params);
  let state: EvaluationState = emptyEvaluation;
  return bars.map((bar, i) => {
    const result = evaluateSignal(entries, state, signalOf(bar, i));
    state = result.state;
    return result.wishes.map(({ intent }) => `${intent.action}${intent.reduceOnly ? ' out' : ''}`).join() || '-';
  });
}

describe('intraday momentum', () => {
  it('buys once when the last minutes lead the session, and leaves when they no longer do', () => {
    const bars = [{ bps: 19.9 }, { bps: 20.1 }, { bps: 40 }, { bps: 1 }, { bps: 0, trend: 1 }, { bps: 0 }, { bps: 30 }];
    expect(run('{}', bars)).toEqual(['-', 'buy', '-', '-', 'sell out', '-', 'buy']);
  });

  it('leaves when the fast average falls below the slow one, whatever the momentum', () => {
    expect(run('{}', [{ bps: 30 }, { bps: 30, trend: -1 }])).toEqual(['buy', 'sell out']);
  });

  it('enters nothing overbought, nothing wild, nothing while an input is missing', () => {
    expect(run('{}', [{ bps: 30, rsi: 75.1 }])).toEqual(['-']);
    expect(run('{}', [{ bps: 30, volatility: 0.0051 }])).toEqual(['-']);
    expect(run('{}', [{ bps: 30, volatility: null }])).toEqual(['buy']);
    expect(run('{}', [{ bps: null }, { bps: 30, rsi: null }])).toEqual(['-', '-']);
    expect(run('{}', [{ bps: 30 }, { bps: null }, { bps: -1 }])).toEqual(['buy', '-', 'sell out']);
  });

  it('is short only where it may be', () => {
    expect(run('{}', [{ bps: -30 }])).toEqual(['-']);
    expect(run('{allow_short: true}', [{ bps: -30 }, { bps: -10 }, { bps: 1 }])).toEqual(['sell', '-', 'buy out']);
    expect(run('{allow_short: true}', [{ bps: -30, rsi: 24.9 }])).toEqual(['-']);
  });

  it('refuses an exit at or above its entry, and names the line of it', () => {
    const text = '- name: m\n  strategy_type: intraday_tsmom_v1\n  params:\n    exit_momentum: 0.002';
    const result = parseCatalog(text);
    expect(result.ok ? [] : result.mistakes).toMatchObject([{ line: 4, message: expect.stringContaining('below') }]);
  });

  const bar = fc.record({
    bps: fc.option(fc.double({ min: -200, max: 200, noNaN: true }), { nil: null }),
    trend: fc.integer({ min: -1, max: 1 }),
    rsi: fc.option(fc.double({ min: 0, max: 100, noNaN: true }), { nil: null }),
    volatility: fc.option(fc.double({ min: 0, max: 0.02, noNaN: true }), { nil: null }),
  });

  it('over any bars: entries and exits take turns, never an exit first, never a short that was not allowed', () => {
    fc.assert(
      fc.property(fc.array(bar, { maxLength: 60 }), fc.boolean(), (bars, mayShort) => {
        const acts = run(`{allow_short: ${mayShort}}`, bars).filter((act) => act !== '-');
        for (const [i, act] of acts.entries()) {
          expect(act.endsWith('out')).toBe(i % 2 === 1);
          if (!mayShort) expect(act).toBe(i % 2 === 0 ? 'buy' : 'sell out');
        }
      }),
    );
  });

  it('is a function of its state and its signal: the same bars give the same intents, and a stored state goes on', () => {
    fc.assert(
      fc.property(fc.array(bar, { minLength: 1, maxLength: 30 }), fc.nat(), (bars, cut) => {
        const entries = catalog('{}');
        const whole = run('{}', bars);
        let state: EvaluationState = emptyEvaluation;
        const parts = bars.map((given, i) => {
          // A restart in the middle: the state as JSON text and back.
          if (i === cut % bars.length)
            state = { ...state, states: new Map(JSON.parse(JSON.stringify([...state.states]))) };
          const result = evaluateSignal(entries, state, signalOf(given, i));
          state = result.state;
          return result.wishes.map(({ intent }) => `${intent.action}${intent.reduceOnly ? ' out' : ''}`).join() || '-';
        });
        expect(parts).toEqual(whole);
      }),
    );
  });
});
