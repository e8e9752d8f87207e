import { describe, expect, it } from 'vitest';
import { type CatalogMistake, parseCatalog } from '../../src/lib/strategy/catalog.ts';

const mistakesOf = (source: string): readonly CatalogMistake[] => {
  const result = parseCatalog(source);
  return result.ok ? [] : result.mistakes;
};
const entriesOf = (source: string) => {
  const result = parseCatalog(source);
  if (!result.ok) throw new Error(JSON.stringify(result.mistakes));
  return result.catalog.entries;
};
const short = (source: string) => mistakesOf(source).map((m) => `${m.line}:${m.column} ${m.message}`);

describe('strategy catalog', () => {
  it('lists every mistake of a file at once, each with its line and column', () => {
    const source = [
      'strategies:',
      '  - name: first',
      '    enabled: yes',
      '    params: {buy_rsi_below: 200, treshold: 1}',
      '    max_position_pct_equity: 1.5',
      '  - strategy_id: second',
      '    base_timeframe: 5Min',
      '    symbols: [AAPL, "x y"]',
      '    colour: red',
      '  - {}',
      '  - name: first',
      '    strategy_type: tea_leaves',
      '    max_notional_per_trade: -1',
      'extra: 1',
    ].join('\n');
    expect(short(source)).toEqual([
      '3:14 must be true or false',
      '4:29 must be a number from 0 to 100',
      "4:34 unknown key 'treshold'",
      '5:30 must be a fraction from 0 to 1 (0.05 = 5 %)',
      '7:21 must be 1Sec or 1Min, the timeframes that signals have',
      '8:21 must be a symbol such as AAPL',
      "9:5 unknown key 'colour'",
      '10:5 missing name (or strategy_id)',
      "11:11 duplicate name 'first', first used on line 2",
      "12:20 unknown strategy type 'tea_leaves'; known: macd_rsi, legacy_macd_rsi, static, intraday_tsmom_v1, intraday_tsmom, tsmom_intraday",
      '13:29 must be a decimal of US dollars, from 0 to under 1000000000000',
      "14:1 unknown key 'extra'",
    ]);
  });

  it.each([
    ['a syntax error', 'strategies: [', 1],
    ['a key written twice', '- name: a\n  name: b', 2],
    ['a top level that is text', 'hello', 1],
    ['a map without the list', 'allow_empty: true', 1],
    ['a list that is none', 'strategies: 5', 1],
    ['an entry that is no map', 'strategies:\n  - 5', 2],
    ['two names of one setting', '- name: a\n  symbols: A\n  universe_symbols: B', 2],
    ['a quantity of zero', '- name: a\n  params: {quantities: {IBM: 0}}', 2],
    ['a control character in a name', '- name: "a\\u001fb"', 1],
    ['a control character in an id', '- strategy_id: "a\\0b"', 1],
    ['NUL in a description', '- name: a\n  description: "a\\0b"', 2],
    ['more dollars than a column holds', '- name: a\n  max_notional_per_trade: 1000000000000', 2],
  ])('refuses %s', (_what, source, line) => {
    const mistakes = mistakesOf(source);
    expect(mistakes.length).toBeGreaterThan(0);
    expect(mistakes[0]?.line).toBe(line);
  });

  it('reads a list, a map and JSON alike', () => {
    const list = '- {name: a, symbols: "ibm, spy", enabled: true, params: {quantity: "1"}}';
    const json = JSON.stringify({
      strategies: [{ name: 'a', symbols: ['IBM', 'SPY'], enabled: true, params: { quantity: '1' } }],
    });
    const plain = (source: string) => entriesOf(source).map(({ strategy: _strategy, line: _line, ...rest }) => rest);
    expect(plain(list)).toEqual(plain(json));
    expect(plain(list)[0]?.symbols).toEqual(['IBM', 'SPY']);
  });

  it('starts a new entry disabled and without limits of its own', () => {
    const [entry] = entriesOf('- name: a');
    expect(entry).toMatchObject({
      enabled: false,
      timeframe: '1Min',
      priority: 100,
      maxNotionalPerTrade: null,
      maxPositionPctEquity: null,
    });
  });

  it('keeps a limit of 0 as 0, because it means nothing is allowed', () => {
    const [entry] = entriesOf('- {name: a, max_notional_per_trade: 0, max_position_pct_equity: "0"}');
    expect(entry?.maxNotionalPerTrade?.toFixed()).toBe('0');
    expect(entry?.maxPositionPctEquity?.toFixed()).toBe('0');
  });

  it('orders entries by priority, then by place in the file', () => {
    expect(entriesOf('[{name: a}, {name: b, priority: 1}, {name: c}]').map((entry) => entry.name)).toEqual([
      'b',
      'a',
      'c',
    ]);
  });

  it('takes an empty file as an empty catalog', () => {
    expect(entriesOf('')).toEqual([]);
    expect(entriesOf('# nothing yet\n')).toEqual([]);
  });
});
