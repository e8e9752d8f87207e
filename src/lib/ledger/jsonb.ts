/**
 * The one way to JSON for Postgres (spec 5.3): every JSONB column takes a `Jsonb`, and only `toJsonb` makes one.
 * Guarantees: what it returns can be stored by Postgres (no NUL, no lone surrogate, no NaN, bounded depth and size); every
 * other value is an error that names its path, at the call and never at commit.
 */
import { Decimal } from 'decimal.js';
import { TorghutError } from '../service/errors.ts';

declare const jsonb: unique symbol;

/** JSON text that went through `toJsonb`. */
export type Jsonb = string & { readonly [jsonb]: true };

export interface JsonbOptions {
  /** Buffers, typed arrays and ArrayBuffers: an error, or base64 text when asked for. */
  bytes?: 'error' | 'base64';
  /** Largest nesting of objects and arrays (default 32). */
  maxDepth?: number;
  /** Largest size of the JSON text in UTF-8 bytes (default 262,144). */
  maxBytes?: number;
}

const DEFAULT_DEPTH = 32;
const DEFAULT_BYTES = 256 * 1024;
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const plainKey = /^[A-Za-z_$][\w$]*$/;

function refuse(path: string, why: string): never {
  throw new TorghutError({
    code: 'json_not_storable',
    what: `cannot store the value at ${path} as JSON`,
    why,
    next: 'give a plain value: text, a finite number, a decimal, a date, a list or an object of these',
  });
}

/** Postgres refuses NUL, and UTF-8 has no lone surrogates. */
function cleanText(text: string): string {
  return text.replaceAll('\u0000', '').toWellFormed();
}

function childPath(path: string, key: string): string {
  return plainKey.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

/** Objects that stand for one text: URL, and UUID classes of any library. */
function textOfObject(value: object): string | undefined {
  if (value instanceof URL) return value.href;
  const name: unknown = value.constructor?.name;
  if (typeof name === 'string' && /^(uuid|uuidv\d)$/i.test(name)) {
    const text = String(value);
    if (uuidPattern.test(text)) return text.toLowerCase();
  }
  return undefined;
}

function bytesOf(value: object): Uint8Array | undefined {
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

function entriesOf(value: object, path: string): [string, unknown][] {
  if (value instanceof Map) {
    return [...value.entries()].map(([key, item]: [unknown, unknown]) => {
      if (typeof key === 'string') return [key, item];
      if (typeof key === 'bigint' || (typeof key === 'number' && Number.isSafeInteger(key))) return [String(key), item];
      return refuse(path, `a Map key is ${typeof key}, only text and whole numbers can be keys`);
    });
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) {
    // Objects of another realm (vm contexts) have their own Object.prototype, whose own prototype is null.
    const isForeignPlain =
      Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf');
    if (!isForeignPlain) refuse(path, `it is an instance of ${value.constructor?.name || 'an unnamed class'}`);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) refuse(path, 'it has a symbol as a key');
  return Object.entries(value);
}

/**
 * Turns a value into JSON text for a JSONB column.
 * @throws `json_not_storable` with the path (`$.params.x`) of the first value outside the rules of spec 5.3
 */
export function toJsonb(value: unknown, options: JsonbOptions = {}): Jsonb {
  const { bytes = 'error', maxDepth = DEFAULT_DEPTH, maxBytes = DEFAULT_BYTES } = options;
  const open = new Set<object>();
  // A lower bound of the size, to stop early on huge values; the exact size is checked at the end.
  let written = 0;
  const emit = (text: string, path: string): string => {
    written += text.length;
    if (written > maxBytes) refuse(path, `the JSON text is larger than ${maxBytes} bytes`);
    return text;
  };

  const walk = (item: unknown, path: string, depth: number): string => {
    switch (typeof item) {
      case 'string':
        return emit(JSON.stringify(cleanText(item)), path);
      case 'boolean':
        return emit(String(item), path);
      case 'number':
        if (!Number.isFinite(item)) refuse(path, `it is ${item}`);
        if (Number.isInteger(item) && !Number.isSafeInteger(item)) refuse(path, 'it is an integer beyond 2^53');
        return emit(JSON.stringify(item), path);
      case 'bigint':
        return emit(`"${item}"`, path);
      case 'undefined':
        return refuse(path, 'it is undefined');
      case 'object':
        return item === null ? emit('null', path) : walkObject(item, path, depth);
      default:
        return refuse(path, `it is a ${typeof item}`);
    }
  };

  const walkObject = (item: object, path: string, depth: number): string => {
    if (item instanceof Date) {
      if (Number.isNaN(item.getTime())) refuse(path, 'it is an invalid Date');
      return emit(`"${item.toISOString()}"`, path);
    }
    if (Decimal.isDecimal(item)) {
      if (!item.isFinite()) refuse(path, `it is the decimal ${item.toString()}`);
      return emit(`"${item.toFixed()}"`, path);
    }
    if (item instanceof Error) return walk({ name: item.name, message: item.message }, path, depth);
    const text = textOfObject(item);
    if (text !== undefined) return walk(text, path, depth);
    const raw = bytesOf(item);
    if (raw) {
      if (bytes === 'error') refuse(path, 'it is binary data');
      return emit(`"${Buffer.from(raw).toString('base64')}"`, path);
    }
    if (depth >= maxDepth) refuse(path, `it is nested deeper than ${maxDepth}`);
    if (open.has(item)) refuse(path, 'it contains itself');
    open.add(item);
    const list = Array.isArray(item) ? Array.from(item as unknown[]) : item instanceof Set ? [...item] : undefined;
    const out = list ? walkList(list, path, depth) : walkEntries(entriesOf(item, path), path, depth);
    open.delete(item);
    return out;
  };

  const walkList = (list: unknown[], path: string, depth: number): string =>
    `[${list.map((entry, index) => walk(entry, `${path}[${index}]`, depth + 1)).join(',')}]`;

  const walkEntries = (entries: [string, unknown][], path: string, depth: number): string => {
    const seen = new Set<string>();
    const parts: string[] = [];
    for (const [rawKey, entry] of entries) {
      const key = cleanText(rawKey);
      const at = childPath(path, key);
      if (key === '__proto__') refuse(at, 'the key __proto__ is not allowed');
      if (entry === undefined) continue;
      if (seen.has(key)) refuse(at, 'two keys are equal once cleaned for Postgres');
      seen.add(key);
      const name = emit(JSON.stringify(key), at);
      parts.push(`${name}:${walk(entry, at, depth + 1)}`);
    }
    return `{${parts.join(',')}}`;
  };

  const out = walk(value, '$', 0);
  if (Buffer.byteLength(out, 'utf8') > maxBytes) refuse('$', `the JSON text is larger than ${maxBytes} bytes`);
  return out as Jsonb;
}
