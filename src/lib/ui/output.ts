/**
 * All printing of results: a table for people, JSON and YAML for scripts. Results go to stdout, everything else to stderr.
 */
import { stringify as toYaml } from 'yaml';
import { z } from 'zod';
import { usageError } from '../service/errors.ts';

export const outputFormats = ['table', 'json', 'yaml'] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Parses the value of -o. @throws `bad_output_format` (exit 2) */
export function parseOutputFormat(text: string): OutputFormat {
  const parsed = z.enum(outputFormats).safeParse(text);
  if (parsed.success) return parsed.data;
  throw usageError({
    code: 'bad_output_format',
    what: `unknown output format ${text}`,
    next: `use one of ${outputFormats.join(', ')}`,
  });
}

/** Bigints and Decimals as text, dates as RFC 3339, everything else as it is. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item)),
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

/** Rows as an aligned table: numbers to the right, one line each. */
export function formatTable(rows: readonly Record<string, unknown>[]): string {
  const shown = rows.map((row) => plain(row) as Record<string, unknown>);
  const columns = [...new Set(shown.flatMap((row) => Object.keys(row)))];
  if (columns.length === 0) return '';
  const texts = shown.map((row) => columns.map((column) => cell(row[column])));
  const isNumber = columns.map((column) => shown.every((row) => row[column] === null || isNumeric(row[column])));
  const widths = columns.map((column, i) =>
    Math.max(column.length, ...texts.map((line) => Math.min((line[i] as string).length, 80))),
  );
  const line = (cells: string[]) =>
    cells
      .map((text, i) => {
        const width = widths[i] as number;
        const cut = text.length > 80 ? `${text.slice(0, 79)}…` : text;
        return isNumber[i] ? cut.padStart(width) : cut.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.toUpperCase())), ...texts.map(line)].join('\n');
}

function isNumeric(value: unknown): boolean {
  return typeof value === 'number' || (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value));
}

/** A list of rows in the chosen format: JSON and YAML are an array of objects. */
export function renderRows(rows: readonly Record<string, unknown>[], format: OutputFormat): string {
  if (format === 'json') return JSON.stringify(plain(rows), null, 2);
  if (format === 'yaml') return toYaml(plain(rows)).trimEnd();
  return rows.length === 0 ? '(no rows)' : formatTable(rows);
}

/** One object: a two-column table for people. */
export function renderObject(value: Record<string, unknown>, format: OutputFormat): string {
  if (format === 'json') return JSON.stringify(plain(value), null, 2);
  if (format === 'yaml') return toYaml(plain(value)).trimEnd();
  const flat = Object.entries(plain(value) as Record<string, unknown>);
  const width = Math.max(0, ...flat.map(([key]) => key.length));
  return flat.map(([key, item]) => `${key.padEnd(width)}  ${cell(item)}`).join('\n');
}

/** Writes a result to stdout. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}
