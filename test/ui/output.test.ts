import { expect, test } from 'vitest';
import { formatTable, parseOutputFormat, renderObject, renderRows } from '../../src/lib/ui/output.ts';

const rows = [
  { symbol: 'AIG', volume: 1300, offset: 12n, note: null },
  { symbol: 'BAC', volume: 12500, offset: 7n, note: 'late' },
];

test('a table aligns words to the left and numbers to the right', () => {
  expect(formatTable(rows)).toBe(
    ['SYMBOL  VOLUME  OFFSET  NOTE', 'AIG       1300      12', 'BAC      12500       7  late'].join('\n'),
  );
});

test('JSON is an array of rows and keeps a bigint as its digits', () => {
  expect(JSON.parse(renderRows(rows, 'json'))).toEqual([
    { symbol: 'AIG', volume: 1300, offset: '12', note: null },
    { symbol: 'BAC', volume: 12500, offset: '7', note: 'late' },
  ]);
  expect(renderRows([], 'json')).toBe('[]');
  expect(renderRows([], 'table')).toBe('(no rows)');
  expect(renderRows(rows.slice(0, 1), 'yaml')).toContain('symbol: AIG');
  expect(renderObject({ a: 1, bb: 'x' }, 'table')).toBe('a   1\nbb  x');
});

test('an unknown format is refused with the known ones', () => {
  expect(() => parseOutputFormat('xml')).toThrow(/xml/);
});
