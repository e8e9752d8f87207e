/**
 * Reads a page of market-data REST and gives every item the form of a stream message: `T` and `S` in front, the rest of the
 * item's text unchanged. Facts: `{"trades":{"SYM":[…]},"next_page_token":…}`, items carry neither `T` nor `S`; a single-symbol
 * answer has the list itself and `symbol` (alpaca-protocol 3, ingest 2.5).
 */
import { type ScannedMessage, scanMessages, skipSpace, skipValue, stringAt } from './frame-scanner.ts';

export interface RestPage {
  messages: ScannedMessage[];
  nextPageToken: string | undefined;
}

/** @throws Error when the text is no page of that kind */
export function readRestPage(text: string, field: 'trades' | 'quotes' | 'bars', type: 't' | 'q' | 'b'): RestPage {
  const page: RestPage = { messages: [], nextPageToken: undefined };
  let single: ScannedMessage[] | undefined;
  let singleSymbol: string | undefined;
  const list = (at: number, symbol: string | undefined, into: ScannedMessage[]): number => {
    // An empty market answers null instead of a list.
    if (text.startsWith('null', at)) return at + 4;
    const end = scanMessages(text, at, (message) => {
      message.type = type;
      if (symbol !== undefined) message.symbol = symbol;
      into.push(message);
    });
    if (typeof end !== 'number') throw new Error(`${end.reason} at ${end.at}`);
    return end;
  };
  const end = walkObject(text, skipSpace(text, 0), (key, at) => {
    if (key === field && text[at] === '{') return walkObject(text, at, (name, from) => list(from, name, page.messages));
    if (key === field) {
      single = [];
      return list(at, undefined, single);
    }
    const to = skipValue(text, at);
    if (text[at] === '"') {
      if (key === 'next_page_token') page.nextPageToken = stringAt(text, at, to) || undefined;
      if (key === 'symbol') singleSymbol = stringAt(text, at, to);
    }
    return to;
  });
  if (skipSpace(text, end) !== text.length) throw new Error('text after the page');
  for (const message of single ?? []) {
    if (singleSymbol === undefined) throw new Error('a list without its symbol');
    page.messages.push({ ...message, symbol: singleSymbol });
  }
  for (const message of page.messages) {
    const head = `{"T":"${type}","S":${JSON.stringify(message.symbol)}`;
    message.raw = `${head}${message.raw === '{}' ? '' : ','}${message.raw.slice(1)}`;
  }
  return page;
}

/** Walks the members of the object at `i`; the callback returns the index behind the value. */
function walkObject(text: string, i: number, onMember: (key: string, at: number) => number): number {
  if (text[i] !== '{') throw new Error(`expected an object at ${i}`);
  i = skipSpace(text, i + 1);
  if (text[i] === '}') return i + 1;
  for (;;) {
    if (text[i] !== '"') throw new Error(`expected a key at ${i}`);
    const keyEnd = skipValue(text, i);
    const key = stringAt(text, i, keyEnd);
    i = skipSpace(text, keyEnd);
    if (text[i] !== ':') throw new Error(`expected : at ${i}`);
    i = skipSpace(text, onMember(key, skipSpace(text, i + 1)));
    if (text[i] === '}') return i + 1;
    if (text[i] !== ',') throw new Error(`expected , or } at ${i}`);
    i = skipSpace(text, i + 1);
  }
}
