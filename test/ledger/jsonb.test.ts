import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Decimal } from 'decimal.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Jsonb, toJsonb } from '../../src/lib/ledger/jsonb.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';

function pathOf(value: unknown): string {
  try {
    toJsonb(value);
  } catch (error) {
    if (error instanceof TorghutError && error.code === 'json_not_storable') {
      return error.what.replace('cannot store the value at ', '').replace(' as JSON', '');
    }
    throw error;
  }
  throw new Error('was stored');
}

class UUID {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  toString(): string {
    return this.#text;
  }
}

class Position {
  readonly symbol = 'IBM';
}

describe('toJsonb follows the table of the boundary', () => {
  it.each([
    ['text', 'IBM', '"IBM"'],
    ['a boolean', true, 'true'],
    ['null', null, 'null'],
    ['a finite number', -1.5, '-1.5'],
    ['a date', new Date(Date.UTC(2013, 9, 8)), '"2013-10-08T00:00:00.000Z"'],
    ['a bigint', 2n ** 70n, '"1180591620717411303424"'],
    ['a decimal without exponent', new Decimal('1e-8'), '"0.00000001"'],
    ['a large decimal', new Decimal('1e30'), `"1${'0'.repeat(30)}"`],
    [
      'a UUID object',
      { id: new UUID('6B1F7F0E-0000-4000-8000-000000000001') },
      '{"id":"6b1f7f0e-0000-4000-8000-000000000001"}',
    ],
    ['a URL', new URL('https://example.test/a'), '"https://example.test/a"'],
    ['an error', new TypeError('bad'), '{"name":"TypeError","message":"bad"}'],
    ['an undefined member', { a: undefined, b: 1 }, '{"b":1}'],
    [
      'a map',
      new Map<unknown, unknown>([
        ['a', 1],
        [2, 'b'],
      ]),
      '{"a":1,"2":"b"}',
    ],
    ['a set', new Set([1, 2]), '[1,2]'],
    ['a lone surrogate', 'a\ud800b', '"a\ufffdb"'],
    ['a NUL', { 'k\u0000': 'a\u0000b' }, '{"k":"ab"}'],
    ['the same object twice', ((shared) => [shared, shared])({ a: 1 }), '[{"a":1},{"a":1}]'],
    ['an object without prototype', Object.assign(Object.create(null) as object, { a: 1 }), '{"a":1}'],
  ])('stores %s', (_name, value, text) => {
    expect(toJsonb(value)).toBe(text);
  });

  it.each([
    ['NaN', { params: { x: Number.NaN } }, '$.params.x'],
    ['infinity', [1, Number.POSITIVE_INFINITY], '$[1]'],
    ['an unsafe integer', { n: 2 ** 60 }, '$.n'],
    ['an invalid date', { at: new Date('x') }, '$.at'],
    ['an infinite decimal', { d: new Decimal('Infinity') }, '$.d'],
    ['undefined in a list', [1, undefined], '$[1]'],
    ['a hole in a list', new Array(1), '$[0]'],
    ['undefined itself', undefined, '$'],
    ['a function', { f: () => 1 }, '$.f'],
    ['a symbol', { s: Symbol('x') }, '$.s'],
    ['a symbol key', { a: { [Symbol('x')]: 1 } }, '$.a'],
    ['a class instance', { p: new Position() }, '$.p'],
    ['a buffer', { b: Buffer.from('x') }, '$.b'],
    ['a typed array', { 'my key': new Float64Array(1) }, '$["my key"]'],
    ['a key __proto__', JSON.parse('{"a":{"__proto__":1}}'), '$.a.__proto__'],
    ['two keys that become one', { 'a\u0000': 1, a: 2 }, '$.a'],
    ['an object as key', new Map([[{}, 1]]), '$'],
  ])('refuses %s and names its path', (_name, value, path) => {
    expect(pathOf(value)).toBe(path);
  });

  it('refuses cycles, depth over 32 and more than 256 KiB', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = { again: cycle };
    expect(pathOf(cycle)).toBe('$.self.again');
    const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) });
    expect(toJsonb(nested(32))).toContain('"a"');
    expect(pathOf(nested(33))).toBe(`$${'.a'.repeat(32)}`);
    expect(pathOf('x'.repeat(256 * 1024))).toBe('$');
    expect(toJsonb('x'.repeat(256 * 1024 - 2)).length).toBe(256 * 1024);
    expect(pathOf('é'.repeat(130 * 1024))).toBe('$');
    expect(pathOf(Array.from({ length: 300_000 }, () => 0))).toMatch(/^\$\[/);
  });

  it('stores bytes as base64 only when asked', () => {
    expect(toJsonb({ b: Buffer.from('hi') }, { bytes: 'base64' })).toBe('{"b":"aGk="}');
    expect(toJsonb(new Uint8Array([1, 2]).buffer, { bytes: 'base64' })).toBe('"AQI="');
  });
});

describe('toJsonb over anything', () => {
  it('either throws json_not_storable or gives JSON that Postgres can hold', () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withSet: true,
          withTypedArray: true,
          withSparseArray: true,
          withNullPrototype: true,
          withBoxedValues: true,
          stringUnit: 'binary',
        }),
        (value) => {
          let text: Jsonb;
          try {
            text = toJsonb(value);
          } catch (error) {
            expect(error).toBeInstanceOf(TorghutError);
            expect((error as TorghutError).code).toBe('json_not_storable');
            expect((error as TorghutError).what).toContain('$');
            return;
          }
          expect(text.includes('\\u0000')).toBe(false);
          expect(text.isWellFormed()).toBe(true);
          expect(toJsonb(JSON.parse(text))).toBe(text);
        },
      ),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 20_000 : 2_000 },
    );
  });
});

describe('there is one way to JSON', () => {
  const files = (directory: string): string[] =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name));

  it('no ledger or order module makes JSON text or a Jsonb by itself', () => {
    const offenders = [...files('src/lib/ledger'), ...files('src/lib/orders')]
      .filter((path) => !path.endsWith('jsonb.ts'))
      .filter((path) => /JSON\.stringify|as Jsonb|as unknown as Jsonb/.test(readFileSync(path, 'utf8')));
    expect(offenders).toEqual([]);
  });

  it('nobody else in the house makes a Jsonb, or sends a jsonb parameter past it', () => {
    const others = files('src').filter((path) => !path.endsWith('lib/ledger/jsonb.ts'));
    const made = others.filter((path) => /as (unknown as )?Jsonb\b/.test(readFileSync(path, 'utf8')));
    expect(made).toEqual([]);
    const sent = others.filter((path) => /::jsonb?\b/.test(readFileSync(path, 'utf8')));
    expect(sent.filter((path) => !path.includes('lib/ledger/'))).toEqual([]);
  });

  it('a raw object is no Jsonb', () => {
    // @ts-expect-error the compiler refuses a raw object
    const refused: Jsonb = { a: 1 };
    // @ts-expect-error and plain text
    const refusedText: Jsonb = '{}';
    expect([refused, refusedText]).toHaveLength(2);
  });
});
