/**
 * The strategy catalog: YAML or JSON text to strategies, or to the whole list of its mistakes with line and column.
 * Guarantees: all or nothing, every mistake at once; the order of the result is by priority (lower first), then by file.
 */
import type { Decimal } from 'decimal.js';
import { type Document, isMap, isNode, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { defaultStrategyType, entrySchemaOf, type RawEntry } from './catalog-schema.ts';
import type { BoundStrategy } from './plugin.ts';
import { builtInStrategies, type StrategyRegistry } from './registry.ts';

export interface CatalogEntry {
  /** Unique; the upsert key and part of the decision identity. */
  name: string;
  /** Stable id such as `macd_rsi_default@paper`; the name when not given. */
  strategyId: string;
  type: string;
  version: string | null;
  description: string;
  enabled: boolean;
  params: Readonly<Record<string, unknown>>;
  priority: number;
  timeframe: '1Sec' | '1Min';
  universeType: string;
  /** Empty = the whole universe. */
  symbols: readonly string[];
  /** USD; 0 allows nothing, null leaves it to the global limit. */
  maxNotionalPerTrade: Decimal | null;
  /** Fraction of equity; 0 allows nothing, null leaves it to the global limit. */
  maxPositionPctEquity: Decimal | null;
  strategy: BoundStrategy;
  /** Line of the entry in the file, from 1. */
  line: number;
}

export interface Catalog {
  entries: readonly CatalogEntry[];
  /** `allow_empty: true` at the top: an empty list is meant. */
  allowEmpty: boolean;
}

export interface CatalogMistake {
  line: number;
  column: number;
  /** Where in the document, such as `strategies[1].params.quantity`. */
  path: string;
  message: string;
}

export type CatalogResult = { ok: true; catalog: Catalog } | { ok: false; mistakes: readonly CatalogMistake[] };

type Path = readonly (string | number)[];

function pathText(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('') || '$';
}

/** Parses a catalog file's text. The extension is checked by the caller. */
export function parseCatalog(source: string, registry: StrategyRegistry = builtInStrategies): CatalogResult {
  const schema = entrySchemaOf(registry);
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const mistakes: CatalogMistake[] = [];
  const addAt = (offset: number, path: Path, message: string) => {
    const { line, col } = lines.linePos(offset);
    mistakes.push({ line: Math.max(1, line), column: Math.max(1, col), path: pathText(path), message });
  };
  for (const error of [...document.errors, ...document.warnings]) addAt(error.pos[0], [], error.message);
  if (mistakes.length > 0) return { ok: false, mistakes };

  const add = (path: Path, message: string, key?: string) => addAt(offsetOf(document, path, key), path, message);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    add([], error instanceof Error ? error.message : String(error));
    return { ok: false, mistakes };
  }
  if (value === null || value === undefined) return { ok: true, catalog: { entries: [], allowEmpty: false } };

  const top = topLevel(value, add);
  const entries: CatalogEntry[] = [];
  const firstLines = new Map<string, number>();
  for (const [index, raw] of top.list.entries()) {
    const path = [...top.path, index];
    const { line } = lines.linePos(offsetOf(document, path));
    const name = nameOf(raw);
    const first = name === undefined ? undefined : firstLines.get(name);
    if (first !== undefined) add([...path, 'name'], `duplicate name '${name}', first used on line ${first}`);
    else if (name !== undefined) firstLines.set(name, line);
    const entry = parseEntry(raw, { path, line, add, schema, registry });
    if (entry) entries.push(entry);
  }
  if (mistakes.length > 0) {
    mistakes.sort((a, b) => a.line - b.line || a.column - b.column);
    return { ok: false, mistakes };
  }
  entries.sort((a, b) => a.priority - b.priority || a.line - b.line);
  return { ok: true, catalog: { entries, allowEmpty: top.allowEmpty } };
}

type Add = (path: Path, message: string, key?: string) => void;

function topLevel(value: unknown, add: Add): { list: readonly unknown[]; path: Path; allowEmpty: boolean } {
  if (Array.isArray(value)) return { list: value, path: [], allowEmpty: false };
  const none = { list: [], path: [], allowEmpty: false };
  if (typeof value !== 'object' || value === null) {
    add([], 'the catalog must be a list of strategies or a map with the key strategies');
    return none;
  }
  const top: { strategies?: unknown; allow_empty?: unknown } = value;
  for (const key of Object.keys(top)) {
    if (key !== 'strategies' && key !== 'allow_empty') add([], `unknown key '${key}'`, key);
  }
  if (top.allow_empty !== undefined && typeof top.allow_empty !== 'boolean') {
    add(['allow_empty'], 'must be true or false');
  }
  if (top.strategies === undefined) {
    add([], 'missing list strategies');
    return none;
  }
  // `strategies:` with nothing behind it is an empty list, as an empty file is.
  if (top.strategies === null) return { ...none, allowEmpty: top.allow_empty === true };
  if (!Array.isArray(top.strategies)) {
    add(['strategies'], 'strategies must be a list');
    return none;
  }
  return { list: top.strategies, path: ['strategies'], allowEmpty: top.allow_empty === true };
}

/** The name that an entry goes by, also when the rest of it is wrong. */
function nameOf(raw: unknown): string | undefined {
  if (typeof raw !== 'object' || raw === null) return undefined;
  const { name, strategy_id: id }: { name?: unknown; strategy_id?: unknown } = raw;
  const wanted = name ?? id;
  return typeof wanted === 'string' ? wanted : undefined;
}

function addIssues(error: z.ZodError, path: Path, add: Add): void {
  for (const issue of error.issues) {
    const at = [...path, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) add(at, `unknown key '${key}'`, key);
    } else add(at, issue.message);
  }
}

interface EntryContext {
  path: Path;
  line: number;
  add: Add;
  schema: ReturnType<typeof entrySchemaOf>;
  registry: StrategyRegistry;
}

function parseEntry(raw: unknown, { path, line, add, schema, registry }: EntryContext): CatalogEntry | undefined {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    add(path, 'a strategy must be a map');
    return undefined;
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success) addIssues(parsed.error, path, add);
  // The parameters are checked also when the entry has other mistakes, so that all are listed at once.
  const wanted = (raw as { strategy_type?: unknown }).strategy_type ?? defaultStrategyType;
  const type = typeof wanted === 'string' ? registry.find(wanted) : undefined;
  const params = (raw as { params?: unknown }).params ?? {};
  if (type && typeof params === 'object') {
    const checked = type.params.safeParse(params);
    if (!checked.success) {
      addIssues(checked.error, [...path, 'params'], add);
      return undefined;
    }
  }
  if (!parsed.success || !type) return undefined;
  try {
    return toEntry(parsed.data, type.type, type.bind(parsed.data.params), line);
  } catch (error) {
    // A plug-in's own code: what it throws is a mistake of this entry, never of the program.
    add([...path, 'params'], `${type.type} does not take these parameters: ${describe(error)}`);
    return undefined;
  }
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function toEntry(raw: RawEntry, type: string, strategy: BoundStrategy, line: number): CatalogEntry {
  const name = raw.name ?? raw.strategy_id ?? '';
  return {
    name,
    strategyId: raw.strategy_id ?? name,
    type,
    version: raw.version ?? null,
    description: raw.description,
    enabled: raw.enabled,
    params: raw.params,
    priority: raw.priority,
    timeframe: raw.base_timeframe,
    universeType: raw.universe_type,
    symbols: raw.universe_symbols ?? raw.symbols ?? [],
    maxNotionalPerTrade: raw.max_notional_per_trade ?? null,
    maxPositionPctEquity: raw.max_position_pct_equity ?? null,
    strategy,
    line,
  };
}

/** Offset of a node, of a key inside it, or of the nearest parent that exists. */
function offsetOf(document: Document, path: Path, key?: string): number {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (!isNode(node)) continue;
    const wanted = length === path.length ? key : undefined;
    if (wanted !== undefined && isMap(node)) {
      for (const pair of node.items) {
        if (isNode(pair.key) && String(pair.key) === wanted && pair.key.range) return pair.key.range[0];
      }
    }
    if (isMap(node) || isSeq(node) || node.range) return node.range?.[0] ?? 0;
  }
  return 0;
}
