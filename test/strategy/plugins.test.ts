import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseCatalog } from '../../src/lib/strategy/catalog.ts';
import { emptyEvaluation, evaluateInto, evaluateSignal, workingCopy } from '../../src/lib/strategy/evaluate.ts';
import { guardedStrategy } from '../../src/lib/strategy/guard.ts';
import { builtInStrategies, strategyRegistry } from '../../src/lib/strategy/registry.ts';
import type { StrategySignal } from '../../src/lib/strategy/signal.ts';
import { loadStrategies } from '../../src/lib/trading/strategy-plugins.ts';

const folder = mkdtempSync(join(tmpdir(), 'torghut-plugins-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string) => writeFileSync(join(folder, name), text);

const signal: StrategySignal = {
  symbol: 'IBM', windowSize: 'PT1S', eventTsMs: 1_381_238_000_000, revision: 0, macd: 1, macdSignal: 0, rsi14: 20,
  features: { ema12: 1 },
}; // biome-ignore format: one list
const intent = { action: 'buy', rationale: 'r', orderType: 'market', timeInForce: 'day', confidence: 1 };
const definition = (evaluate: (...given: never[]) => unknown, more: object = {}) => ({
  type: 'mine', params: z.strictObject({}), state: z.strictObject({ n: z.number() }), initial: { n: 0 }, evaluate, ...more,
}); // biome-ignore format: one list
const source = { file: 'mine.ts', digest: '0' };

/** A catalog with the plug-in first and the built-in strategy behind it. */
function evaluate(plugin: unknown) {
  const registry = strategyRegistry([...builtInStrategies.types, guardedStrategy(plugin, source)]);
  const text =
    '- {name: p, enabled: true, base_timeframe: 1Sec, strategy_type: mine, priority: 1}\n' +
    '- {name: b, enabled: true, base_timeframe: 1Sec, strategy_type: macd_rsi, priority: 2}';
  const parsed = parseCatalog(text, registry);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.mistakes));
  return evaluateSignal(parsed.catalog.entries, emptyEvaluation, signal);
}

describe('strategy plug-ins', () => {
  it('are loaded from a folder, with their types stripped, and can be named by a catalog', async () => {
    write(
      'above.ts',
      `import type { Foo } from './nowhere.ts';
       export default ({ z, Decimal }: { z: any; Decimal: any }) => ({
         type: 'above', aliases: ['over'], params: z.strictObject({ level: z.number() }),
         state: z.strictObject({ seen: z.number() }), initial: { seen: 0 }, cooldownSeconds: () => 7,
         evaluate: (state: { seen: number }, signal: { rsi14: number }, params: { level: number }) => ({
           state: { seen: state.seen + 1 },
           intents: signal.rsi14 > params.level ? [{ action: 'sell', rationale: 'above', orderType: 'limit',
             timeInForce: 'day', limitPrice: new Decimal('10.5'), quantity: new Decimal(3), confidence: 0.5 }] : [],
         }),
       });`,
    );
    write('broken.ts', 'this is no program');
    write(
      'taken.mjs',
      `export default ({ z }) => ({ type: 'macd_rsi', params: z.any(), state: z.any(), initial: 0, evaluate() {} });`,
    );
    write('empty.js', 'export const nothing = 1;');
    write('ignored.d.ts', 'export {};');
    const { registry, failures } = await loadStrategies(folder);
    expect(failures.map(({ file, why }) => `${file.split('/').at(-1)} ${why.split('\n')[0]}`)).toEqual([
      expect.stringContaining('broken.ts'),
      expect.stringMatching(/empty\.js .*no function/),
      expect.stringMatching(/taken\.mjs two strategies go by the name macd_rsi/),
    ]);
    const good = '- {name: a, enabled: true, base_timeframe: 1Sec, strategy_type: over, params: {level: 10}}';
    const parsed = parseCatalog(good, registry);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.mistakes));
    const { wishes, state } = evaluateSignal(parsed.catalog.entries, emptyEvaluation, signal);
    expect(wishes.map((wish) => wish.intent.limitPrice?.toFixed())).toEqual(['10.5']);
    expect([...state.states.values()]).toEqual([{ seen: 1 }]);
    expect(parsed.catalog.entries[0]?.strategy.cooldownSeconds).toBe(7);
    expect(registry.find('above')?.source?.digest).toMatch(/^[0-9a-f]{64}$/);
  });

  it('have their parameters checked where the catalog names them', async () => {
    const { registry } = await loadStrategies(folder);
    const wrong = parseCatalog('- name: a\n  strategy_type: above\n  params:\n    level: high\n    more: 1', registry);
    expect(wrong.ok ? [] : wrong.mistakes.map(({ line, path }) => [line, path])).toEqual([
      [4, '[0].params.level'],
      [5, '[0].params'],
    ]);
    const unknown = parseCatalog('- {name: a, strategy_type: abov}', registry);
    expect(unknown.ok ? '' : unknown.mistakes[0]?.message).toContain('over');
  });

  it('are refused at load when the definition is none', () => {
    expect(() => guardedStrategy({ type: 'X' }, source)).toThrow(/type: must be lower case.*params.*evaluate/s);
    expect(() =>
      guardedStrategy(
        definition(() => undefined, { initial: {} }),
        source,
      ),
    ).toThrow(/initial/);
  });

  const good = { state: { n: 1 }, intents: [intent] };
  it.each([
    ['throws', () => { throw new Error('bang'); }],
    ['throws no error at all', () => { throw null; }],
    ['returns nothing', () => undefined],
    ['is async', () => Promise.resolve(good)],
    ['returns a state of another form', () => ({ ...good, state: { n: 'one' } })],
    ['invents an action', () => ({ ...good, intents: [{ ...intent, action: 'hold' }] })],
    ['wants a negative quantity', () => ({ ...good, intents: [{ ...intent, quantity: new Decimal(-1) }] })],
    ['wants a quantity that is a number', () => ({ ...good, intents: [{ ...intent, quantity: 1 }] })],
    ['gives a rationale with NUL', () => ({ ...good, intents: [{ ...intent, rationale: 'a\u0000b' }] })],
    ['gives half a character as rationale', () => ({ ...good, intents: [{ ...intent, rationale: 'a\ud800' }] })],
    ['wants a limit order without a price', () => ({ ...good, intents: [{ ...intent, orderType: 'limit' }] })],
    ['floods', () => ({ ...good, intents: Array.from({ length: 17 }, () => intent) })],
    ['writes on its signal', (_state: unknown, given: { symbol: string }) => { given.symbol = 'X'; return good; }],
    ['writes on the features', (_s: unknown, given: { features: { a?: number } }) => { given.features.a = 1; return good; }],
  ] as [string, (...given: never[]) => unknown][])('one that %s harms neither the batch nor the strategy behind it', (_what, wrong) => {
    const result = evaluate(definition(wrong));
    expect(result.errors.map(({ strategyName }) => strategyName)).toEqual(['p']);
    expect(result.wishes.map((wish) => wish.entry.name)).toEqual(['b']);
    expect(result.state.states.has('p\u001fIBM\u001fPT1S')).toBe(false);
    expect(signal).toMatchObject({ symbol: 'IBM', features: { ema12: 1 } });
  }); // biome-ignore format: a table

  it('whatever one returns, an intent that gets through has the form of an intent', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true }), (returned) => {
        const { wishes, errors } = evaluate(definition(() => ({ state: { n: 0 }, intents: [returned] })));
        expect(errors.length + wishes.filter((wish) => wish.entry.name === 'p').length).toBe(1);
      }),
    );
  });

  it('the evaluation of a batch equals the evaluation row by row', () => {
    const parsed = parseCatalog('- {name: b, enabled: true, base_timeframe: 1Sec, params: {require_cross: true}}');
    if (!parsed.ok) throw new Error('catalog');
    const { entries } = parsed.catalog;
    const row = fc.record({
      symbol: fc.constantFrom('IBM', 'GE'),
      macd: fc.constantFrom(-1, 0, 1),
      rsi14: fc.constantFrom(10, 50, 90),
    });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 40 }), (rows) => {
        const signals = rows.map((given, i) => ({ ...signal, ...given, eventTsMs: signal.eventTsMs + i * 1_000 }));
        const working = workingCopy(emptyEvaluation);
        const batch = signals.flatMap((given) => evaluateInto(entries, working, given).wishes);
        let state = emptyEvaluation;
        const single = signals.flatMap((given) => {
          const result = evaluateSignal(entries, state, given);
          state = result.state;
          return result.wishes;
        });
        expect(batch.map((wish) => wish.intent)).toEqual(single.map((wish) => wish.intent));
        expect(working.states).toEqual(state.states);
      }),
    );
  });
});

describe('docs/strategy-plugins.md', () => {
  it('shows a plug-in that loads and acts as it says', async () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/strategy-plugins.md'), 'utf8');
    const code = /```ts\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    const file = join(folder, 'documented.ts');
    writeFileSync(file, code);
    const { registry, failures } = await loadStrategies(file);
    expect(failures).toEqual([]);
    const text = '- {name: d, enabled: true, base_timeframe: 1Sec, strategy_type: rsi_floor, params: {floor: 30}}';
    const parsed = parseCatalog(text, registry);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.mistakes));
    const first = evaluateSignal(parsed.catalog.entries, emptyEvaluation, signal);
    expect(first.errors).toEqual([]);
    expect(first.wishes.map((wish) => wish.intent.quantity?.toFixed())).toEqual(['1']);
    expect(evaluateSignal(parsed.catalog.entries, first.state, signal).wishes).toEqual([]);
  });
});
