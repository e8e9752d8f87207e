import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readRestPage } from '../../src/lib/alpaca/rest-page.ts';

describe('REST page', () => {
  test('gives items the form of stream messages with their own number texts', () => {
    const page = readRestPage(
      '{"trades":{"A":[{"t":"2030-01-01T00:00:00Z","p":10.50,"i":7}],"B":[{}]},"next_page_token":"QQ=="}',
      'trades',
      't',
    );
    expect(page.nextPageToken).toBe('QQ==');
    expect(page.messages.map(({ raw }) => raw)).toEqual([
      '{"T":"t","S":"A","t":"2030-01-01T00:00:00Z","p":10.50,"i":7}',
      '{"T":"t","S":"B"}',
    ]);
    expect(page.messages[0]).toMatchObject({ type: 't', symbol: 'A', id: '7' });
  });

  test('reads the single-symbol form, an empty market and the end of the pages', () => {
    const single = readRestPage('{"bars":[{"t":"x","o":1}],"symbol":"A","next_page_token":null}', 'bars', 'b');
    expect(single.messages.map(({ symbol }) => symbol)).toEqual(['A']);
    expect(single.nextPageToken).toBeUndefined();
    expect(readRestPage('{"quotes":{"A":null},"next_page_token":null}', 'quotes', 'q').messages).toEqual([]);
    expect(readRestPage('{"quotes":null}', 'quotes', 'q').messages).toEqual([]);
  });

  test.each(['', '[]', '{"trades":{"A":[{]}}', '{"trades":{"A":[]}} x', '{"trades":[{}]}', '{"trades":5'])(
    'refuses %j',
    (text) => {
      expect(() => readRestPage(text, 'trades', 't')).toThrow();
    },
  );

  test.skipIf(!process.env.TORGHUT_DATA)('reads a recorded page of Alpaca (set TORGHUT_DATA)', () => {
    const path = join(process.env.TORGHUT_DATA ?? '', 'alpaca-rest-sample', 'trades-aapl-2021-10-13.json.gz');
    const text = gunzipSync(readFileSync(path)).toString('utf8');
    const page = readRestPage(text, 'trades', 't');
    const items = (JSON.parse(text) as { trades: { AAPL: object[] } }).trades.AAPL;
    expect(page.messages.map(({ raw }) => JSON.parse(raw))).toEqual(
      items.map((item) => ({ T: 't', S: 'AAPL', ...item })),
    );
    expect(page.messages[0]?.time).toBe('2021-10-13T08:00:00.08960768Z');
  });
});
