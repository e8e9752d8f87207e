import { describe, expect, it } from 'vitest';
import { parseCatalog } from '../../src/lib/strategy/catalog.ts';
import { type EvaluationState, emptyEvaluation, evaluateSignal } from '../../src/lib/strategy/evaluate.ts';
import type { StrategySignal } from '../../src/lib/strategy/signal.ts';

const catalog = (params: string, rest = '') => {
  const result = parseCatalog(`- {name: s, enabled: true, base_timeframe: 1Sec, params: ${params}${rest}}`);
  if (!result.ok) throw new Error(JSON.stringify(result.mistakes));
  return result.catalog.entries;
};

let second = 0;
const signal = (macd: number | null, line: number | null, rsi: number | null, more: Partial<StrategySignal> = {}) => ({
  symbol: 'IBM',
  windowSize: 'PT1S' as const,
  eventTsMs: 1_381_238_000_000 + 1_000 * second++,
  revision: 0,
  macd,
  macdSignal: line,
  rsi14: rsi,
  features: {},
  ...more,
});

const actions = (params: string, signals: StrategySignal[]): string[] => {
  let state: EvaluationState = emptyEvaluation;
  return signals.map((row) => {
    const result = evaluateSignal(catalog(params), state, row);
    state = result.state;
    return result.wishes.map((wish) => wish.intent.action).join() || '-';
  });
};

describe('MACD/RSI strategy', () => {
  it('buys above the signal line with a low RSI and sells below it with a high one, strictly', () => {
    expect(
      actions('{}', [
        signal(1, 0, 34.9),
        signal(1, 0, 35),
        signal(-1, 0, 65.1),
        signal(-1, 0, 65),
        signal(0, 0, 10),
        signal(1, 0, 90),
      ]),
    ).toEqual(['buy', '-', 'sell', '-', '-', '-']);
  });

  it('decides nothing while an input is not warm', () => {
    expect(actions('{}', [signal(null, 0, 10), signal(1, null, 10), signal(1, 0, null)])).toEqual(['-', '-', '-']);
  });

  it('repeats on every bar while true, and only on the crossing bar with require_cross', () => {
    const rows = () => [signal(1, 0, 10), signal(1, 0, 10), signal(-1, 0, 10), signal(1, 0, 10), signal(1, 0, 10)];
    expect(actions('{}', rows())).toEqual(['buy', 'buy', '-', 'buy', 'buy']);
    expect(actions('{require_cross: true}', rows())).toEqual(['-', '-', '-', 'buy', '-']);
  });

  it('names the quantity of the symbol, else the common one, else none', () => {
    const wish = (params: string, symbol: string) =>
      evaluateSignal(
        catalog(params),
        emptyEvaluation,
        signal(1, 0, 10, { symbol }),
      ).wishes[0]?.intent.quantity?.toFixed();
    expect(wish('{quantity: 1, quantities: {IBM: "300"}}', 'IBM')).toBe('300');
    expect(wish('{quantity: 1, quantities: {IBM: "300"}}', 'AIG')).toBe('1');
    expect(wish('{}', 'AIG')).toBeUndefined();
  });

  it('never fires on another timeframe or on a symbol that it does not name', () => {
    const entries = catalog('{}', ', symbols: [IBM]');
    expect(evaluateSignal(entries, emptyEvaluation, signal(1, 0, 10, { windowSize: 'PT1M' })).wishes).toEqual([]);
    expect(evaluateSignal(entries, emptyEvaluation, signal(1, 0, 10, { symbol: 'AIG' })).wishes).toEqual([]);
    expect(evaluateSignal(entries, emptyEvaluation, signal(1, 0, 10)).wishes).toHaveLength(1);
  });

  it('does not change the state it was given', () => {
    const before = emptyEvaluation;
    const once = evaluateSignal(catalog('{}'), before, signal(1, 0, 10));
    expect(before.states.size).toBe(0);
    expect(once.state.states.size).toBe(1);
  });

  it('rests a strategy for 300 market seconds after three errors in a row and asks the others', () => {
    const [good] = catalog('{}');
    if (!good) throw new Error('no entry');
    const bad = {
      ...good,
      name: 'bad',
      strategy: {
        ...good.strategy,
        evaluate: () => {
          throw new RangeError('broken');
        },
      },
    };
    let state: EvaluationState = emptyEvaluation;
    const errors: number[] = [];
    for (let i = 0; i < 5; i++) {
      const result = evaluateSignal([bad, good], state, signal(1, 0, 10));
      state = result.state;
      errors.push(result.errors.length);
      expect(result.wishes).toHaveLength(1);
    }
    expect(errors).toEqual([1, 1, 1, 0, 0]);
    const later = signal(1, 0, 10);
    const result = evaluateSignal([bad, good], state, { ...later, eventTsMs: later.eventTsMs + 300_000 });
    expect(result.errors).toHaveLength(1);
  });
});
