import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ScannedMessage, scanFrame } from '../../src/lib/alpaca/frame-scanner.ts';

const scan = (text: string) => {
  const messages: ScannedMessage[] = [];
  return { fault: scanFrame(text, (message) => messages.push(message)), messages };
};

describe('frame scanner', () => {
  test('keeps the text of each message as it was sent, numbers included', () => {
    const trade =
      '{"T":"t","S":"ZZZ","i":52983525034326001,"x":"V","p":10.0100,"s":3e2,"c":["@","I"],"t":"2030-01-02T15:00:00.5Z","z":"C"}';
    const bar = '{ "T" : "b", "S":"YYY","o":5,"t":"2030-01-02T14:59:00Z" }';
    const { fault, messages } = scan(`[${trade}, ${bar}]`);
    expect(fault).toBeUndefined();
    expect(messages.map(({ raw }) => raw)).toEqual([trade, bar]);
    expect(messages[0]).toMatchObject({
      type: 't', symbol: 'ZZZ', id: '52983525034326001', exchange: 'V', tape: 'C', time: '2030-01-02T15:00:00.5Z',
    }); // biome-ignore format: one list
    expect(messages[1]).toMatchObject({ type: 'b', symbol: 'YYY', id: '' });
  });

  test('takes a single object as a frame, and an empty array', () => {
    expect(scan('{"T":"success"}').messages).toHaveLength(1);
    expect(scan(' [ ] ')).toEqual({ fault: undefined, messages: [] });
  });

  test('reads escapes in the fields that route, and does not mistake a nested or quoted key for its own', () => {
    const { messages } = scan(
      '[{"T":"s","S":"A\\u0042C","sm":"say \\"}],[\\"S\\":1","o":{"S":"NO","t":"NO"},"t":"now"}]',
    );
    expect(messages[0]).toMatchObject({ symbol: 'ABC', time: 'now' });
  });

  test.each([
    '[{"T":"t"}', '[{"T":"t"},]', '[{"T":"t"}]x', '[1]', '', '[{"p":01}]', '[{"p":1.}]', '[{"p":.5}]', '[{"p":1e}]',
    '[{"p":+1}]', '[{p:1}]', '[{"p" 1}]', '[{"a":"\n"}]', '[{"a":"\\x"}]', '[{"a":"\\u12g4"}]', '[{"a":tru}]', '[{"a":"b]',
    `[${'{"a":'.repeat(80)}1${'}'.repeat(80)}]`,
  ])('reports a fault in %j', (text) => {
    expect(scan(text).fault).toBeDefined();
  }); // biome-ignore format: one list

  test('messages before a fault are handed over', () => {
    const { fault, messages } = scan('[{"T":"t","S":"A"},{"T":"t",');
    expect(fault?.at).toBeGreaterThan(18);
    expect(messages.map(({ symbol }) => symbol)).toEqual(['A']);
  });

  test('agrees with JSON.parse on every array of objects, and on every cut of one', () => {
    const object = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(fc.array(object), fc.nat(), fc.nat({ max: 2 }), (list, cut, indent) => {
        const text = JSON.stringify(list, undefined, indent);
        const { fault, messages } = scan(text);
        expect(fault).toBeUndefined();
        expect(messages.map(({ raw }) => JSON.parse(raw))).toEqual(JSON.parse(text));
        const part = text.slice(0, cut % text.length);
        expect(scan(part).fault).toBeDefined();
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 5_000 : 300 },
    );
  });

  test('accepts no text that JSON.parse refuses', () => {
    const mutation = fc.record({
      at: fc.nat(),
      with: fc.constantFrom('"', '}', ']', ',', '0', '-', '\\', ' ', 'e', '.'),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
        let text = '[{"T":"t","S":"A","p":10.5,"c":["@"],"n":-1e3,"o":{"a":null}},{"T":"q","S":"B"}]';
        for (const { at, with: by } of mutations) {
          const i = at % text.length;
          text = text.slice(0, i) + by + text.slice(i + 1);
        }
        let isJson = true;
        try {
          JSON.parse(text);
        } catch {
          isJson = false;
        }
        if (!isJson) expect(scan(text).fault).toBeDefined();
      }),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 20_000 : 2_000 },
    );
  });
});
