/**
 * The symbols that are wanted now: a fixed list, or a list that a service answers, with fail-safes (spec ingest 2.1).
 * Guarantees: whatever the service answers, the last good list stands until a better one is accepted; a list that would remove
 * more than half of the symbols is taken only when the next poll says the same; a list beyond the plan's limit is never taken.
 */
import { z } from 'zod';
import { TorghutError } from '../service/errors.ts';
import { isOwnSymbol, type Shard } from './shard.ts';

/** Why a poll was not taken. */
export const pollFailures = [
  'fetch_error', 'http_status', 'too_large', 'unreadable', 'empty_result', 'over_limit', 'removes_over_half',
] as const; // biome-ignore format: one list
export type PollFailure = (typeof pollFailures)[number];

export interface SymbolRules {
  /** Empty: all are allowed. */
  allowlist: readonly string[];
  shard: Shard;
  /** Most symbols that the plan carries; undefined: no limit. */
  limit: number | undefined;
}

const SYMBOL = /^[A-Z0-9][A-Z0-9./-]{0,31}$/;

/** Trimmed, upper case, each once, allowed, of our shard; what is no symbol is left out. */
export function normalizeSymbols(raw: readonly string[], rules: Pick<SymbolRules, 'allowlist' | 'shard'>): string[] {
  const allowed = new Set(rules.allowlist);
  const symbols = new Set(raw.map((symbol) => symbol.trim().toUpperCase()).filter((symbol) => SYMBOL.test(symbol)));
  return [...symbols].filter(
    (symbol) => (allowed.size === 0 || allowed.has(symbol)) && isOwnSymbol(symbol, rules.shard),
  );
}

const item = z.union([
  z.string(),
  z.looseObject({ contract_symbol: z.string() }).transform(({ contract_symbol }) => contract_symbol),
  z.looseObject({ symbol: z.string() }).transform(({ symbol }) => symbol),
]);
const items = z.array(item);
const reply = z.union([
  items,
  z
    .looseObject({ symbols: items.optional(), contracts: items.optional(), hot_symbols: items.optional() })
    .transform((body) => [body.symbols, body.contracts, body.hot_symbols].find((list) => list?.length) ?? []),
]);

/** The symbols of a service's answer: a list, or an object with symbols, contracts or hot_symbols. @throws when it is neither */
export function parseSymbolReply(text: string): string[] {
  return reply.parse(JSON.parse(text));
}

/** Machine ms for the whole answer, and its largest size. */
const POLL_TIMEOUT_MS = 5_000;
const MAX_REPLY_BYTES = 1_048_576;

function notTaken(code: PollFailure, why: string, cause?: unknown): TorghutError {
  return new TorghutError({
    code: `symbols_${code}`,
    what: 'the list of the symbol service was not taken',
    why,
    next: 'the last good list stands; check SYMBOLS_URL',
    canRetry: true,
    cause,
  });
}

/** One poll of the service. @throws `symbols_…` with the poll failure behind the underscore */
export async function fetchSymbols(url: string, signal?: AbortSignal): Promise<string[]> {
  const limit = AbortSignal.timeout(POLL_TIMEOUT_MS);
  let response: Response;
  const parts: Uint8Array[] = [];
  try {
    response = await fetch(url, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (!response.ok) {
      await response.body?.cancel();
      throw notTaken('http_status', `HTTP ${response.status}`);
    }
    let size = 0;
    for await (const part of response.body ?? []) {
      size += part.length;
      if (size > MAX_REPLY_BYTES) throw notTaken('too_large', `over ${MAX_REPLY_BYTES} bytes`);
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof TorghutError) throw error;
    throw notTaken('fetch_error', (error as Error).message, error);
  }
  try {
    return parseSymbolReply(Buffer.concat(parts).toString('utf8'));
  } catch (error) {
    throw notTaken('unreadable', 'neither a list nor an object with symbols, contracts or hot_symbols', error);
  }
}

export interface SymbolChange {
  added: string[];
  removed: string[];
}

export interface SymbolSourceOptions {
  /** Already normalised; the list at start, and for ever without `fetch`. */
  initial: readonly string[];
  rules: SymbolRules;
  /** One poll; undefined: the list is fixed. @throws `symbols_…` */
  fetch?: ((signal: AbortSignal) => Promise<string[]>) | undefined;
  onChange(symbols: readonly string[], change: SymbolChange): void;
  /** Called once for each distinct failure in a row. */
  onFailure(failure: PollFailure, why: string): void;
}

export class SymbolSource {
  readonly #options: SymbolSourceOptions;
  #symbols: readonly string[];
  #failure: PollFailure | undefined;
  #suspect: string | undefined;
  polls = { taken: 0, failed: new Map<PollFailure, number>() };

  constructor(options: SymbolSourceOptions) {
    this.#options = options;
    this.#symbols = options.initial;
  }

  get symbols(): readonly string[] {
    return this.#symbols;
  }

  /** Failure of the last poll; undefined when it was taken. */
  get failure(): PollFailure | undefined {
    return this.#failure;
  }

  /** Asks the service once. Never throws. */
  async poll(signal: AbortSignal): Promise<void> {
    const { fetch, rules } = this.#options;
    if (!fetch) return;
    try {
      const symbols = normalizeSymbols(await fetch(signal), rules);
      this.#take(symbols, rules.limit);
    } catch (error) {
      if (signal.aborted) return;
      const code = error instanceof TorghutError ? error.code.replace(/^symbols_/, '') : '';
      this.#fail(pollFailures.find((name) => name === code) ?? 'fetch_error', (error as Error).message);
    }
  }

  #take(symbols: string[], limit: number | undefined): void {
    if (symbols.length === 0) throw notTaken('empty_result', 'it names no symbol of ours');
    if (limit !== undefined && symbols.length > limit) {
      throw notTaken('over_limit', `${symbols.length} symbols, the plan carries ${limit}`);
    }
    const before = new Set(this.#symbols);
    const after = new Set(symbols);
    const removed = [...before].filter((symbol) => !after.has(symbol));
    const text = [...symbols].sort().join(',');
    if (removed.length * 2 > before.size && this.#suspect !== text) {
      this.#suspect = text;
      throw notTaken('removes_over_half', `it would remove ${removed.length} of ${before.size} symbols`);
    }
    this.#suspect = undefined;
    this.#failure = undefined;
    this.polls.taken += 1;
    const added = symbols.filter((symbol) => !before.has(symbol));
    if (added.length === 0 && removed.length === 0) return;
    this.#symbols = symbols;
    this.#options.onChange(symbols, { added, removed });
  }

  #fail(failure: PollFailure, why: string): void {
    this.polls.failed.set(failure, (this.polls.failed.get(failure) ?? 0) + 1);
    // Two lists that both remove over half count as seen twice only when they follow each other.
    if (failure !== 'removes_over_half') this.#suspect = undefined;
    if (failure !== this.#failure) this.#options.onFailure(failure, why);
    this.#failure = failure;
  }
}
