/**
 * Configuration from the environment, checked as a whole: every mistake is listed at once, with the variable's name, never
 * its value when it is secret (design 6). Each daemon keeps its own table of variables beside its code.
 */
import { exitCode, TorghutError } from './errors.ts';
import { registerSecret } from './logging.ts';
import { nearestName } from './nearest.ts';

/** Which of the two times a duration counts in (design 4); 'none' for everything that is no duration. */
export type TimeKind = 'market' | 'machine' | 'none';

export interface Variable<T> {
  /** Turns the text into the value. @throws Error whose message says what is wrong (without the value when secret). */
  parse: (text: string) => T;
  /** Value when the variable is unset or empty. */
  default: T;
  describe: string;
  secret?: boolean;
  time?: TimeKind;
  /** Other names of the same setting; different values under two names are an error. First set name wins. */
  aliases?: readonly string[];
}

export type VariableTable = Record<string, Variable<unknown>>;

export type ConfigOf<T extends VariableTable> = { [K in keyof T]: T[K] extends Variable<infer V> ? V : never };

export interface ConfigSource {
  name: string;
  value: unknown;
  source: 'default' | 'environment';
  /** The name under which it was set. */
  from: string;
  secret: boolean;
  time: TimeKind;
  describe: string;
}

function bad(message: string): never {
  throw new Error(message);
}

/** Parsers for the common kinds. */
export const kind = {
  text: (text: string): string => text.trim(),
  optionalText: (text: string): string | undefined => text.trim() || undefined,
  csv: (text: string): readonly string[] =>
    text
      .split(',')
      .map((item) => item.trim())
      .filter(Boolean),
  boolean: (text: string): boolean => {
    const value = text.trim().toLowerCase();
    if (['1', 'true', 'yes', 'on'].includes(value)) return true;
    if (['0', 'false', 'no', 'off'].includes(value)) return false;
    return bad('must be true or false');
  },
  integer:
    (min: number, max = Number.MAX_SAFE_INTEGER) =>
    (text: string): number => {
      const value = Number(text);
      if (text.trim() === '' || !Number.isSafeInteger(value) || value < min || value > max) {
        return bad(`must be a whole number from ${min} to ${max}`);
      }
      return value;
    },
  number:
    (min: number, max = Number.MAX_VALUE) =>
    (text: string): number => {
      const value = Number(text);
      if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max) {
        return bad(`must be a number from ${min} to ${max}`);
      }
      return value;
    },
  /** A decimal kept as text, for money and quantities. */
  decimal: (text: string): string => {
    if (!/^-?\d+(\.\d+)?$/.test(text.trim())) return bad('must be a decimal number, for example 2500 or 0.05');
    return text.trim();
  },
  oneOf:
    <const V extends string>(...values: readonly V[]) =>
    (text: string): V => {
      const found = values.find((value) => value.toLowerCase() === text.trim().toLowerCase());
      return found ?? bad(`must be one of ${values.join(', ')}`);
    },
  url:
    (...protocols: readonly string[]) =>
    (text: string): string => {
      let url: URL;
      try {
        url = new URL(text.trim());
      } catch {
        return bad('must be a URL');
      }
      if (protocols.length > 0 && !protocols.includes(url.protocol)) {
        return bad(`must be a URL with ${protocols.join(' or ')}`);
      }
      return text.trim().replace(/\/+$/, '');
    },
};

/** Makes a parser accept "unset" as undefined. */
export function optional<T>(parse: (text: string) => T): (text: string) => T | undefined {
  return (text) => (text.trim() === '' ? undefined : parse(text));
}

export interface LoadedConfig<T extends VariableTable> {
  values: ConfigOf<T>;
  sources: ConfigSource[];
  /** Unknown names of our prefixes, each with the nearest known one. */
  warnings: string[];
}

const ourPrefixes = /^(TORGHUT|TRADING|TA|INGEST)_/;
/** Names that belong to the process, not to a table. */
const processNames = new Set([
  'TORGHUT_HOME', 'TORGHUT_RUN_HOME', 'TORGHUT_CLOCK', 'TORGHUT_CACHE', 'TORGHUT_DATA', 'TORGHUT_PARENT', 'TORGHUT_RUN_ID',
  'TORGHUT_CLI_ENTRY', 'TORGHUT_CRASH_AT', 'TORGHUT_CRASH_REPORT',
]); // biome-ignore format: one list

/**
 * Reads a table of variables.
 * @param known names of the other tables, so that they are not warned about
 * @throws `config_invalid` (exit 2) that lists every mistake
 */
export function loadConfig<T extends VariableTable>(
  table: T,
  env: NodeJS.ProcessEnv = process.env,
  known: readonly string[] = [],
): LoadedConfig<T> {
  const values: Record<string, unknown> = {};
  const sources: ConfigSource[] = [];
  const mistakes: string[] = [];
  const names = new Set<string>([...processNames, ...known]);
  for (const [name, variable] of Object.entries(table)) {
    const candidates = [name, ...(variable.aliases ?? [])];
    for (const candidate of candidates) names.add(candidate);
    const set = candidates.filter((candidate) => (env[candidate] ?? '') !== '');
    const from = set[0];
    const conflict = set.find((other) => env[other] !== env[from as string]);
    if (from !== undefined && conflict !== undefined) {
      mistakes.push(`${from} and ${conflict} name the same setting but have different values`);
      continue;
    }
    let value = variable.default;
    if (from !== undefined) {
      if (variable.secret) registerSecret(env[from]);
      try {
        value = variable.parse(env[from] as string);
      } catch (error) {
        mistakes.push(`${from} ${(error as Error).message}`);
        continue;
      }
    }
    values[name] = value;
    sources.push({
      name,
      value: variable.secret && value !== undefined && value !== '' ? '[masked]' : value,
      source: from === undefined ? 'default' : 'environment',
      from: from ?? name,
      secret: variable.secret ?? false,
      time: variable.time ?? 'none',
      describe: variable.describe,
    });
  }
  const warnings: string[] = [];
  for (const name of Object.keys(env)) {
    if (!ourPrefixes.test(name) || names.has(name)) continue;
    const near = nearestName(name, [...names]);
    warnings.push(`unknown variable ${name}${near ? `; did you mean ${near}?` : ''}`);
  }
  if (mistakes.length > 0) {
    throw new TorghutError({
      code: 'config_invalid',
      what: `${mistakes.length === 1 ? 'a setting is' : `${mistakes.length} settings are`} wrong`,
      why: mistakes.join('; '),
      next: 'correct the environment; `torghut config` lists every variable with its meaning',
      exitCode: exitCode.usage,
    });
  }
  return { values: values as ConfigOf<T>, sources, warnings };
}
