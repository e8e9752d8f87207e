/** Reading records: the byte scanner says what the general reader says, and what cannot be used has its reason. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEnvelope, decodeProviderMessage, decodeRecord } from '../../src/lib/ta/index.ts';
import { scanEnvelope } from '../../src/lib/ta/scan.ts';
import { envelopeOf } from './feed.ts';
import { minuteBar, quote, randomMarket, trade } from './fixtures.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const utf8 = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Both readers on the same text; the general one refuses broken JSON as `schema`. */
function both(text: string): { scanned: unknown; general: unknown } {
  let general: unknown = 'schema';
  try {
    general = decodeEnvelope(JSON.parse(text));
  } catch {
    // Not JSON.
  }
  return { scanned: scanEnvelope(encode(text)), general };
}

const tradeText = envelopeOf(trade(1.25, 100.07, 300, { conditions: ['@', 'F'], exchange: 'N', tape: 'C' })).text;
const quoteText = envelopeOf(quote(1.123456789, 99.5, 100)).text;

describe('the byte scanner', () => {
  it('reads trades and quotes as the general reader does, and leaves the rest to it', () => {
    let scans = 0;
    for (const { event } of randomMarket(3, 70, 20)) {
      const { scanned, general } = both(envelopeOf(event).text);
      expect(general).toEqual(event);
      if (event.kind !== 'trade' && event.kind !== 'quote') {
        expect(scanned).toBeUndefined();
        continue;
      }
      scans += 1;
      expect(scanned).toEqual(event);
    }
    expect(scans).toBeGreaterThan(2_000);
  });

  it('gives the same double as JSON.parse for any decimal, or gives up', () => {
    const decimal = fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 15n }), fc.integer({ min: 0, max: 15 }));
    let scans = 0;
    fc.assert(
      fc.property(decimal, ([whole, places]) => {
        const digits = whole.toString().padStart(places + 1, '0');
        const text = places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`;
        const { scanned, general } = both(tradeText.replace('"p":100.07', `"p":${text}`));
        if (scanned === undefined) return;
        scans += 1;
        expect(scanned).toEqual(general);
      }),
      { numRuns: 5_000 },
    );
    expect(scans).toBeGreaterThan(1_000);
  });

  it('never says anything else than the general reader, whatever byte is changed, lost or added', () => {
    const texts = [tradeText, quoteText];
    fc.assert(
      fc.property(
        fc.constantFrom(...texts),
        fc.nat(),
        fc.constantFrom('change', 'drop', 'add'),
        fc.constantFrom(...'0159.-+eE",:[]{}\\tTZ nul'.split('')),
        (text, where, how, letter) => {
          const end = text.indexOf(',"account_label"');
          const i = where % end;
          const changed = text.slice(0, i) + (how === 'drop' ? '' : letter) + text.slice(how === 'add' ? i : i + 1);
          const { scanned, general } = both(changed);
          if (scanned !== undefined) expect(scanned, changed).toEqual(general);
        },
      ),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 200_000 : 20_000 },
    );
  });
});

describe('the general reader', () => {
  const change = (from: string, to: string, text = tradeText) => decodeRecord(encode(text.replace(from, to)), utf8);

  it.each([
    ['"p":100.07', '"p":0', 'invalid_value'],
    ['"p":100.07', '"p":"100.07"', 'invalid_value'],
    ['"p":100.07', '"p":1e999', 'invalid_value'],
    ['"s":300', '"s":-1', 'invalid_value'],
    ['"t":"2013-10-08T13:30:01.25Z"', '"t":"2013-10-08T13:30:02.25Z"', 'time_mismatch'],
    ['"t":"2013-10-08T13:30:01.25Z"', '"t":"soon"', 'invalid_event_ts'],
    ['"event_ts":"2013-10-08T13:30:01.25Z"', '"event_ts":"2013-10-32T13:30:01.25Z"', 'invalid_event_ts'],
    ['"symbol":"MU"', '"symbol":""', 'schema'],
    ['"seq":', '"seq":"x","was":', 'schema'],
    ['"payload":{', '"payload":7,"was":{', 'schema'],
    ['{"ingest_ts"', '{{"ingest_ts"', 'schema'],
    ['"channel":"trades"', '"channel":"lulds"', 'ignored'],
  ])('%s → %s is %s', (from, to, reason) => {
    expect(tradeText).toContain(from);
    expect(change(from, to)).toBe(reason);
  });

  it('takes equal instants that are written differently', () => {
    expect(change('"t":"2013-10-08T13:30:01.25Z"', '"t":"2013-10-08T09:30:01.250-04:00"')).toMatchObject({
      kind: 'trade',
      nano: 250_000_000,
    });
  });

  it('reads camelCase, extra keys, missing ids and progress', () => {
    const camel = { eventTs: '2013-10-08T13:30:01Z', channel: 'trades', symbol: 'MU', seq: 1, more: true };
    const payload = { t: '2013-10-08T13:30:01Z', p: 1, s: 2, i: null, tks: 'B' };
    expect(decodeEnvelope({ ...camel, payload })).toMatchObject({
      kind: 'trade',
      id: -1,
      conditions: [],
      exchange: '',
    });
    expect(decodeEnvelope({ event_ts: '2013-10-08T13:30:01Z', channel: 'progress' })).toMatchObject({
      kind: 'progress',
    });
  });

  it('refuses minute bars that are none', () => {
    const bar = envelopeOf(minuteBar(1, 10)).text;
    expect(change('"h":10', '"h":9', bar)).toBe('invalid_value');
    expect(change('"l":10', '"l":11', bar)).toBe('invalid_value');
    expect(change('"v":4', '"v":-4', bar)).toBe('invalid_value');
    expect(change('', '', bar)).toMatchObject({ kind: 'bar', close: 10, vwap: null });
  });

  it('reads provider messages as they stand in recorded files', () => {
    const message = { T: 't', S: 'SPY', i: 7, x: 'P', p: 1.5, s: 10, c: ['@'], t: '2013-10-08T13:30:01Z', z: 'B' };
    expect(decodeProviderMessage(message, 3)).toMatchObject({ kind: 'trade', symbol: 'SPY', id: 7, seq: 3 });
    expect(decodeProviderMessage({ ...message, T: 's' }, 3)).toBe('ignored');
    expect(decodeProviderMessage({ ...message, S: 1 }, 3)).toBe('schema');
    expect(decodeProviderMessage(null, 3)).toBe('schema');
  });
});
