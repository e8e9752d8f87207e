/** Universe, shards and the symbol service's fail-safes, with the vectors of the contract. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isOwnSymbol, shardOf } from '../../src/lib/market/shard.ts';
import {
  normalizeSymbols,
  parseSymbolReply,
  type SymbolRules,
  SymbolSource,
} from '../../src/lib/market/symbol-source.ts';
import { universeHash, universeMistakes } from '../../src/lib/market/universe.ts';

const rules: SymbolRules = { allowlist: [], shard: { index: 0, count: 1 }, limit: undefined };

describe('shards', () => {
  test('the vectors of the contract', () => {
    expect(['NVDA', 'AMD', 'MU', 'BTC/USD'].map((symbol) => shardOf(symbol, 2))).toEqual([1, 0, 0, 1]);
    expect(['NVDA', 'AMD', 'MU', 'BTC/USD'].map((symbol) => shardOf(symbol, 2 ** 32))).toEqual([
      2809157911, 3128920612, 521111244, 3031763835,
    ]);
  });

  test('every symbol belongs to exactly one shard', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 40 }), (symbol, count) => {
        const owners = Array.from({ length: count }, (_, index) => isOwnSymbol(symbol, { index, count }));
        expect(owners.filter(Boolean)).toHaveLength(1);
      }),
    );
  });
});

describe('a versioned universe', () => {
  const symbols = ['AMD', 'MU', 'NVDA'];
  const symbolHash = '56dc824f95b6b5326001f2d6b8a2474b044071e9327e4fc54cc9feb689db6385';

  test('has the hash of the contract', () => {
    expect(universeHash(symbols)).toBe(symbolHash);
    expect(universeMistakes({ id: 'chips.2026-03', symbolHash, symbols })).toEqual([]);
  });

  test('every mistake is named', () => {
    const wrong = universeMistakes({ id: 'Chips!', symbolHash, symbols: ['NVDA', 'AMD', 'AMD'] });
    expect(wrong).toHaveLength(3);
    expect(wrong.join()).toMatch(/UNIVERSE_ID.*sorted.*SYMBOL_HASH/);
  });
});

describe('the answer of a symbol service', () => {
  test.each([
    ['["nvda", " amd ", "NVDA", ""]', ['NVDA', 'AMD']],
    ['{"symbols":[{"symbol":"NVDA"},"AMD"]}', ['NVDA', 'AMD']],
    ['{"symbols":[],"contracts":[{"contract_symbol":"MU","symbol":"X"}]}', ['MU']],
    ['{"hot_symbols":["AMD"],"count":1}', ['AMD']],
  ])('%s', (text, symbols) => {
    expect(normalizeSymbols(parseSymbolReply(text), rules)).toEqual(symbols);
  });

  test('is kept to the allowlist and to our shard', () => {
    const raw = ['NVDA', 'AMD', 'MU', 'TSLA'];
    expect(normalizeSymbols(raw, { allowlist: ['NVDA', 'MU'], shard: { index: 0, count: 2 } })).toEqual(['MU']);
  });
});

describe('the source', () => {
  const answers: (string[] | Error)[] = [];
  const told: string[] = [];
  const open = (initial: string[], more: Partial<SymbolRules> = {}) => {
    answers.length = 0;
    told.length = 0;
    return new SymbolSource({
      initial,
      rules: { ...rules, ...more },
      fetch: async () => {
        const answer = answers.shift() ?? [];
        if (answer instanceof Error) throw answer;
        return answer;
      },
      onChange: (symbols, { added, removed }) => void told.push(`${symbols} +${added} -${removed}`),
      onFailure: (failure) => void told.push(failure),
    });
  };
  const poll = async (source: SymbolSource, ...list: (string[] | Error)[]) => {
    answers.push(...list);
    for (const _ of list) await source.poll(new AbortController().signal);
  };

  test('keeps the last good list through errors and empty answers, and tells each distinct failure once', async () => {
    const source = open(['A', 'B']);
    await poll(source, new Error('refused'), new Error('refused'), [], ['A', 'B', 'C']);
    expect(told).toEqual(['fetch_error', 'empty_result', 'A,B,C +C -']);
    expect(source.failure).toBeUndefined();
    expect(source.polls.failed.get('fetch_error')).toBe(2);
  });

  test('a list that removes over half is taken only when the very next poll says the same', async () => {
    const source = open(['A', 'B', 'C', 'D']);
    await poll(source, ['A', 'B']);
    expect(source.symbols).toEqual(['A', 'B']);
    const again = open(['A', 'B', 'C', 'D']);
    await poll(again, ['A']);
    expect(again.failure).toBe('removes_over_half');
    await poll(again, ['B']);
    await poll(again, new Error('x'), ['B']);
    expect(again.symbols).toEqual(['A', 'B', 'C', 'D']);
    await poll(again, ['B']);
    expect(again.symbols).toEqual(['B']);
  });

  test('never more than the plan carries', async () => {
    const source = open(['A'], { limit: 2 });
    await poll(source, ['A', 'B', 'C']);
    expect([source.symbols, source.failure]).toEqual([['A'], 'over_limit']);
  });

  test('whatever is answered, the list is never empty once it was not, and never over the limit', async () => {
    const list = fc.array(fc.constantFrom('A', 'B', 'C', 'D', 'E', 'F', '?'), { maxLength: 7 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(list, fc.constant(new Error('x'))), { maxLength: 12 }), async (all) => {
        const source = open(['A', 'B', 'C'], { limit: 4 });
        for (const answer of all) {
          await poll(source, answer);
          expect(source.symbols.length).toBeGreaterThan(0);
          expect(source.symbols.length).toBeLessThanOrEqual(4);
        }
      }),
    );
  });
});
