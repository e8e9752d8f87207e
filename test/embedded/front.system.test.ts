/** Everything that the unmodified @clickhouse/client asks of a server, one by one, on the real engine. */
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshHome } from '../support/torghut.ts';
import { clientOf, rowsOf, type StoreProcess, startStore, until } from './rig.ts';

let store: StoreProcess;
let client: ClickHouseClient;
const longQuery = 'SELECT count() AS n FROM numbers(100000000000) WHERE sipHash64(number) % 3 = 1';

beforeAll(async () => {
  store = await startStore('clickhouse', freshHome());
  client = clientOf(store.endpoint, { isCompressed: true });
  await client.command({ query: 'CREATE TABLE t (a Int64, s String) ENGINE = MergeTree ORDER BY a' });
});

afterAll(async () => {
  await client.close();
  expect(await store.stop()).toBe(0);
});

describe('queries', () => {
  test('ping answers by itself and by a query', async () => {
    expect((await client.ping()).success).toBe(true);
    expect((await client.ping({ select: true })).success).toBe(true);
  });

  test('parameters of all kinds arrive as they were sent, in the address and in a multipart body', async () => {
    for (const use_multipart_params of [false, true]) {
      const [row] = await rowsOf<Record<string, unknown>>(
        client,
        `SELECT {s:String} AS s, toString({n:UInt64}) AS n, {a:Array(String)} AS a, {d:DateTime64(3,'UTC')} AS d,
                {x:Nullable(String)} AS x, {m:Map(String,Int32)} AS m, {b:Bool} AS b, count() AS c FROM {t:Identifier}`,
        {
          query_params: {
            s: "it's \\ a\n\ttest {x:String} ; -- ü日本",
            n: '18446744073709551615',
            a: ["a'b", 'c\\d\n'],
            d: new Date(1381239000123),
            x: null,
            m: { k: 1 },
            b: true,
            t: 't',
          },
          use_multipart_params,
        },
      );
      expect(row).toEqual({
        s: "it's \\ a\n\ttest {x:String} ; -- ü日本",
        n: '18446744073709551615',
        a: ["a'b", 'c\\d\n'],
        d: '2013-10-08 13:30:00.123',
        x: null,
        m: { k: 1 },
        b: true,
        c: 0,
      });
    }
  });

  test('any text survives as a parameter', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        // A lone surrogate has no UTF-8; NUL is the engine's own end of a parameter's text.
        fc.pre(text.isWellFormed() && !text.includes('\0'));
        const [row] = await rowsOf<{ s: string }>(client, 'SELECT {s:String} AS s', { query_params: { s: text } });
        expect(row?.s).toBe(text);
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 500 : 60 },
    );
  });

  test('the default format, an own format, and the headers of the answer', async () => {
    const json = await client.query({ query: 'SELECT 1 AS a', query_id: 'my-own-id' });
    expect(await json.json()).toMatchObject({ data: [{ a: 1 }], rows: 1 });
    expect(json.query_id).toBe('my-own-id');
    const raw = await fetch(`${store.endpoint.url}/?query=${encodeURIComponent('SELECT 1 AS a, 2 AS b')}`, {
      headers: basic(store),
    });
    expect(await raw.text()).toBe('1\t2\n');
    expect(raw.headers.get('x-clickhouse-format')).toBe('TabSeparated');
    expect(raw.headers.get('x-clickhouse-query-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(JSON.parse(raw.headers.get('x-clickhouse-summary') ?? '')).toMatchObject({ result_rows: '1' });
  });

  test('settings of one query do not reach the next one, nor do SET and USE', async () => {
    const read = "SELECT getSetting('max_result_rows') AS m, getSetting('max_block_size') AS b, currentDatabase() AS d";
    const [before] = await rowsOf(client, read);
    expect(
      await rowsOf(client, read, { clickhouse_settings: { max_result_rows: '7', max_block_size: '999' } }),
    ).toEqual([{ m: 7, b: 999, d: 'torghut' }]);
    await client.command({ query: 'SET max_result_rows = 9' });
    await client.command({ query: 'USE system' });
    expect(await rowsOf(client, read)).toEqual([before]);
  });

  test('settings do not leak between queries that run at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 24 }, (_, i) =>
        rowsOf<{ m: number; p: number }>(
          client,
          "SELECT getSetting('max_result_rows') AS m, {p:Int32} AS p, sleep(0.02)",
          {
            clickhouse_settings: { max_result_rows: String(i + 1) },
            query_params: { p: i + 1 },
          },
        ),
      ),
    );
    expect(results.map(([row]) => [row?.m, row?.p])).toEqual(results.map((_, i) => [i + 1, i + 1]));
  });

  test('readonly refuses changes, and so does GET', async () => {
    await expect(
      client.command({ query: 'DROP TABLE t', clickhouse_settings: { readonly: '1' } }),
    ).rejects.toMatchObject({
      code: '164',
    });
    const get = await fetch(`${store.endpoint.url}/?query=DROP+TABLE+t&database=torghut`, { headers: basic(store) });
    expect([get.status, get.headers.get('x-clickhouse-exception-code')]).toEqual([403, '164']);
  });

  test('errors come with the code, the type and the words of the engine', async () => {
    const failing: [string, string, string][] = [
      ['SELECT * FROM nowhere', '60', 'UNKNOWN_TABLE'],
      ['selec 1', '62', 'SYNTAX_ERROR'],
      ['SELECT {z:String}', '456', 'UNKNOWN_QUERY_PARAMETER'],
      ['SELECT 1; DROP TABLE t', '62', 'SYNTAX_ERROR'],
      ['SELECT throwIf(1)', '395', 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO'],
      ['-- nothing', '62', 'SYNTAX_ERROR'],
    ];
    for (const [query, code, type] of failing) {
      await expect(client.command({ query })).rejects.toMatchObject({ code, type });
    }
    await expect(
      rowsOf(client, 'SELECT 1', { clickhouse_settings: { max_rows_to_reed: 1 } as never }),
    ).rejects.toMatchObject({
      code: '115',
    });
  });

  test('a wrong password, and a wrong user, get nowhere', async () => {
    for (const [username, password] of [
      [store.endpoint.user, 'wrong'],
      ['default', store.endpoint.password],
      ['default', ''],
    ]) {
      const stranger = createClient({
        url: store.endpoint.url,
        username: username ?? '',
        password: password ?? '',
        log: { level: ClickHouseLogLevel.OFF },
      });
      await expect(stranger.query({ query: 'SELECT 1' })).rejects.toMatchObject({ code: '516' });
      await stranger.close();
    }
  });
});

describe('inserts', () => {
  const insertText = async (table: string, chunks: Iterable<Buffer>) => {
    const { stream } = await client.exec({
      query: `INSERT INTO ${table} FORMAT JSONEachRow`,
      values: Readable.from(chunks, { objectMode: false }),
    });
    await finished(stream.resume());
  };
  const count = async () => (await rowsOf<{ n: number }>(client, 'SELECT count() AS n FROM t'))[0]?.n;

  test('rows, a stream of rows, a stream of text, values, and a statement with its data in the body', async () => {
    const before = (await count()) ?? 0;
    const { summary } = await client.insert({
      table: 't',
      values: [
        { a: 1, s: "q'uo\n" },
        { a: 2, s: '日本' },
      ],
      format: 'JSONEachRow',
    });
    expect(summary?.written_rows).toBe('2');
    await client.insert({ table: 't', values: Readable.from([{ a: 3, s: 'x' }]), format: 'JSONEachRow' });
    await insertText('t', [Buffer.from('{"a":4,"s":"y"}\n{"a":'), Buffer.from('5,"s":"z"}\n')]);
    await client.command({ query: "INSERT INTO t VALUES (6, 'six;'), (7, 'seven')" });
    const executed = await client.exec({ query: 'INSERT INTO t FORMAT CSV', values: Readable.from(['8,"ei""ght"\n']) });
    executed.stream.resume();
    await fetch(`${store.endpoint.url}/?database=torghut`, {
      method: 'POST',
      headers: { ...basic(store), 'content-encoding': 'gzip' },
      body: gzipSync('INSERT INTO t FORMAT JSONEachRow\n{"a":9,"s":"in the body; SELECT"}\n'),
    }).then((response) => expect(response.status).toBe(200));
    await client.command({ query: "INSERT INTO t SELECT number + 10, 'selected' FROM numbers(3)" });
    expect(await count()).toBe(before + 12);
    expect(await rowsOf(client, 'SELECT s FROM t WHERE a IN (1, 2, 6, 8, 9) ORDER BY a')).toEqual(
      ["q'uo\n", '日本', 'six;', 'ei"ght', 'in the body; SELECT'].map((s) => ({ s })),
    );
  });

  test('a wrong row refuses the whole insert and names the row', async () => {
    const before = await count();
    const values = [{ a: 1, s: 'good' }, { a: 'no number' }];
    await expect(client.insert({ table: 't', values, format: 'JSONEachRow' })).rejects.toThrow(/at row 2/);
    expect(await count()).toBe(before);
  });

  test('a body above one piece is cut between rows, and every row arrives', async () => {
    const rows = 160_000;
    const padding = 'x'.repeat(500);
    function* lines() {
      for (let i = 0; i < rows; i += 1000) {
        let text = '';
        for (let j = i; j < i + 1000; j++) text += `{"a":${j},"s":"${padding}}\\n{"}\n`;
        yield Buffer.from(text);
      }
    }
    await client.command({ query: 'CREATE TABLE big (a Int64, s String) ENGINE = MergeTree ORDER BY a' });
    await insertText('big', lines());
    expect(
      await rowsOf(client, 'SELECT count() AS n, uniqExact(a) AS u, min(length(s)) AS l, max(length(s)) AS h FROM big'),
    ).toEqual([{ n: rows, u: rows, l: 503, h: 503 }]);
    await client.command({ query: 'DROP TABLE big SYNC' });
  });

  test('a client that goes away in the middle of its body leaves nothing behind', async () => {
    const before = await count();
    const url = new URL(store.endpoint.url);
    await new Promise<void>((resolve) => {
      const cut = request({
        host: url.hostname,
        port: url.port,
        method: 'POST',
        path: `/?database=torghut&query=${encodeURIComponent('INSERT INTO t FORMAT JSONEachRow')}`,
        headers: { ...basic(store), 'content-length': '100000' },
      });
      cut.on('error', () => resolve());
      cut.write('{"a":100,"s":"cut"}\n');
      setTimeout(() => cut.destroy(), 100);
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await count()).toBe(before);
  });
});

describe('sessions', () => {
  test('keep SET, USE and temporary tables; what one query was given holds for that query only', async () => {
    const session_id = 's1';
    await client.command({ query: 'SET max_result_rows = 77', session_id });
    await client.command({ query: 'CREATE TEMPORARY TABLE tmp (a Int32)', session_id });
    await client.insert({ table: 'tmp', values: [{ a: 5 }], format: 'JSONEachRow', session_id });
    const read = "SELECT getSetting('max_result_rows') AS m, (SELECT sum(a) FROM tmp) AS s";
    const given = { session_id, clickhouse_settings: { max_result_rows: '5' } };
    expect(await rowsOf(client, read, given)).toEqual([{ m: 5, s: 5 }]);
    expect(await rowsOf(client, read, { session_id })).toEqual([{ m: 77, s: 5 }]);
    expect(await rowsOf(client, 'SELECT {p:Int8} AS p', { session_id, query_params: { p: 1 } })).toEqual([{ p: 1 }]);
    await expect(rowsOf(client, 'SELECT {p:Int8} AS p', { session_id })).rejects.toMatchObject({ code: '456' });
    await expect(rowsOf(client, 'SELECT * FROM tmp')).rejects.toMatchObject({ code: '60' });
    await expect(rowsOf(client, 'SELECT * FROM tmp', { session_id: 's2' })).rejects.toMatchObject({ code: '60' });
  });

  test('a session serves one query at a time', async () => {
    const session_id = 's3';
    const first = rowsOf(client, 'SELECT sleep(0.5)', { session_id });
    await until('the session is in use', async () => {
      try {
        await rowsOf(client, 'SELECT 1', { session_id });
        return undefined;
      } catch (error) {
        return (error as { code?: string }).code === '373';
      }
    });
    await first;
    expect(await rowsOf(client, 'SELECT 1 AS a', { session_id })).toEqual([{ a: 1 }]);
  });
});

describe('several at once', () => {
  test('long reads stop neither small inserts nor other reads, and end when their clients go away', async () => {
    const given = new AbortController();
    const reads = Array.from({ length: 8 }, () => rowsOf(client, longQuery, { abort_signal: given.signal }));
    const settled = Promise.allSettled(reads);
    await until('they run', async () => (await running(longQuery)) > 2);
    for (let i = 0; i < 10; i++)
      await client.insert({ table: 't', values: [{ a: i, s: 'between' }], format: 'JSONEachRow' });
    given.abort();
    await settled;
    await until('the engine has ended them', async () => (await running(longQuery)) === 0);
    expect(await rowsOf(client, 'SELECT 1 AS a')).toEqual([{ a: 1 }]);
  });

  test('a time limit ends a query', async () => {
    await expect(rowsOf(client, longQuery, { clickhouse_settings: { max_execution_time: 1 } })).rejects.toMatchObject({
      code: '159',
    });
  });
});

async function running(query: string): Promise<number> {
  const [row] = await rowsOf<{ n: number }>(
    client,
    'SELECT count() AS n FROM system.processes WHERE startsWith(query, {q:String}) SETTINGS max_execution_time = 20',
    { query_params: { q: query } },
  );
  return row?.n ?? 0;
}

function basic({ endpoint }: StoreProcess): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${endpoint.user}:${endpoint.password}`).toString('base64')}` };
}
