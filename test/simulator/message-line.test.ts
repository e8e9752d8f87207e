import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTimestampNs, parseTimestampNs } from '../../src/lib/market/time.ts';
import { checkLine, itemOffset, kindLetters, rawMembers, splitLine } from '../../src/simulator/market/message-line.ts';
import { everyKind } from './market-data.ts';

const numberText = fc.oneof(
  fc.integer({ min: 0, max: 10_000 }).map(String),
  fc.tuple(fc.nat(9_999), fc.nat(999)).map(([whole, part]) => `${whole}.${String(part).padStart(3, '0')}0`),
  fc.constantFrom('1e2', '10.10', '0.5000', '12E-1'),
);

describe('a market message as bytes', () => {
  it('kind, symbol and time are those of the parsed message, whatever the fraction digits', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2_500_000_000_000_000_000n }),
        fc.constantFrom(1n, 1_000n, 1_000_000n, 1_000_000_000n, 100_000_000n),
        fc.constantFrom('AAPL', 'BRK.B', 'BTC/USD', 'X'),
        (ns, unit, symbol) => {
          const eventNs = (ns / unit) * unit;
          const line = `{"T":"t","S":"${symbol}","i":7,"p":1.50,"s":2,"c":["@","t"],"t":"${formatTimestampNs(eventNs)}","z":"C"}`;
          const split = splitLine(Buffer.from(line));
          expect(split).toMatchObject({ code: 0, symbol, eventNs });
          expect(split?.line.toString()).toBe(line);
          expect(`{${line.slice(itemOffset(symbol))}`).toBe(line.replace(`"T":"t","S":"${symbol}",`, ''));
        },
      ),
    );
  });

  it('any key order and spacing becomes canonical, with the number text as written', () => {
    fc.assert(
      fc.property(
        numberText,
        numberText,
        fc.shuffledSubarray(['T', 'S', 't', 'p', 's', 'c'], { minLength: 6 }),
        fc.boolean(),
        (p, s, order, isSpaced) => {
          const raw: Record<string, string> = {
            T: '"t"',
            S: '"IBM"',
            t: '"2026-03-10T14:30:00.5Z"',
            p,
            s,
            c: '["@", "I\\"}"]',
          };
          const space = isSpaced ? ' ' : '';
          const text = `${space}{${space}${order.map((key) => `"${key}"${space}:${space}${raw[key]}`).join(`,${space}`)}${space}}`;
          const split = checkLine(Buffer.from(text));
          const line = split?.line.toString() ?? '';
          expect(split).toMatchObject({ symbol: 'IBM', eventNs: parseTimestampNs('2026-03-10T14:30:00.5Z') });
          expect(JSON.parse(line)).toEqual(JSON.parse(text));
          expect(line.startsWith('{"T":"t","S":"IBM",')).toBe(true);
          const members = new Map(rawMembers(line).map(({ key, raw: value }) => [key, value]));
          expect([members.get('p'), members.get('s')]).toEqual([p, s]);
        },
      ),
    );
  });

  it('control messages of a captured stream are passed over, everything else that is no message is refused with the reason', () => {
    expect(checkLine(Buffer.from('{"T":"success","msg":"connected"}'))).toBeUndefined();
    expect(new Set(everyKind.map((line) => kindLetters[checkLine(Buffer.from(line))?.code ?? -1])).size).toBe(9);
    const refused: [string, RegExp][] = [
      ['{"T":"t","S":"A","p":1,"s":1,"t":"yesterday"}', /field t/],
      ['{"T":"t","S":"","p":1,"s":1,"t":"2026-03-10T14:30:00Z"}', /field S/],
      ['{"T":"zz","S":"A","t":"2026-03-10T14:30:00Z"}', /unknown T/],
      ['{"S":"A","t":"2026-03-10T14:30:00Z"}', /no field T/],
      ['{"T":"t","S":"A","p":"1","s":1,"t":"2026-03-10T14:30:00Z"}', /field p is no number/],
      ['{"T":"t","S":"A","p":1,"s":1,"t":"2026-03-10T25:30:00Z"}', /field t/],
      ['{"T":"t","S":"A","p":1,"s":1,"t":"2026-02-30T10:30:00Z"}', /field t/],
      ['[1]', /not an object/],
      ['{"T":"t","S":"A"', /JSON/],
    ];
    for (const [line, why] of refused) expect(() => checkLine(Buffer.from(line)), line).toThrow(why);
  });
});
