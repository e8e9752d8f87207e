import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parameterNames, quoteName, quoteText, readStatement } from '../../src/embedded/clickhouse/statement.ts';

describe('one statement', () => {
  test.each([
    ['SELECT 1', 'read'],
    ['  -- a comment ; with a semicolon\n select 1', 'read'],
    ['/* a /* nested */ ; */ WITH 1 AS x SELECT x', 'read'],
    ['(SELECT 1) UNION ALL (SELECT 2)', 'read'],
    ['INSERT INTO t SELECT 1', 'insert'],
    ['OPTIMIZE TABLE t FINAL', 'change'],
    ['KILL QUERY WHERE 1', 'control'],
    ['', 'change'],
  ])('%s is of kind %s', (sql, kind) => {
    expect(readStatement(sql).kind).toBe(kind);
    expect(readStatement(sql).secondAt).toBeUndefined();
  });

  test.each([
    'SELECT 1; SELECT 2',
    "SELECT ';' ; DROP TABLE t",
    'SELECT `a;b`;/* c */ select 2',
    "SELECT 'it''s' ; SELECT 2",
    "SELECT '\\\\' ; SELECT 2",
  ])('a second statement is seen behind: %s', (sql) => {
    expect(sql.slice(readStatement(sql).secondAt)).toMatch(/^(select|drop)/i);
  });

  test.each([
    "SELECT ';'",
    "SELECT 'a\\'; b'",
    'SELECT "x;y"',
    'SELECT 1 ; ; -- end',
    'SELECT $tag$ ; $tag$',
    'SELECT 1 # ; x',
  ])('no second statement in: %s', (sql) => {
    expect(readStatement(sql).secondAt).toBeUndefined();
  });

  test('the data of an INSERT begin behind its format and are not read as SQL', () => {
    const sql = 'INSERT INTO db.t (a, `format`) SETTINGS x = 1 FORMAT JSONEachRow\n{"a":1};DROP';
    const { data, secondAt, end } = readStatement(sql);
    expect(data?.format).toBe('JSONEachRow');
    expect(sql.slice(data?.start)).toBe('{"a":1};DROP');
    expect(sql.slice(0, end)).toBe('INSERT INTO db.t (a, `format`) SETTINGS x = 1');
    expect(secondAt).toBeUndefined();
    const values = readStatement("insert into t values (1, 'a;b')");
    expect(values.data?.format).toBe('Values');
  });

  test('a FORMAT clause of a read is known, a column of that name is none', () => {
    expect(readStatement('SELECT 1 FORMAT JSON').format).toBe('JSON');
    expect(readStatement("SELECT 'FORMAT JSON', (SELECT 1)").format).toBeUndefined();
  });

  test('parameters are found outside of literals only', () => {
    expect(parameterNames("SELECT {a:String}, '{b:String}', {c : Array(UInt8)} -- {d:Int8}")).toEqual(['a', 'c']);
  });

  test('a quoted text or name is one token, whatever it holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(readStatement(`SELECT ${quoteText(text)}`).secondAt).toBeUndefined();
        expect(readStatement(`SELECT ${quoteName(text)} ; x`).secondAt).toBeDefined();
      }),
    );
  });
});
