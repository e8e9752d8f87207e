/**
 * Two sets of current rows compared by key. Pure; a double is equal when all its bits are.
 */
import type { CurrentRow } from './current-rows.ts';

export interface RowDifference {
  /** `different`, or the side that alone has the row. */
  kind: 'different' | 'only_left' | 'only_right';
  table: CurrentRow['table'];
  symbol: string;
  windowSize: string;
  eventMs: number;
  /** Columns that differ (all of the row when only one side has it). */
  columns: Record<string, { left: unknown; right: unknown }>;
}

/** What was compared so far, summed over any number of slices. */
export class Comparison {
  /** Keys that at least one side has. */
  bars = 0;
  signals_1s = 0;
  signals_1m = 0;
  only_left = 0;
  only_right = 0;
  different = 0;
  /** The earliest difference (by window end, then symbol, bar before signal). */
  first: RowDifference | undefined;
  #firstKey = '';
  readonly #ignoresRevision: boolean;

  /** @param options.ignoresRevision rows with equal values are equal whatever their revision (outputs of another arrival order) */
  constructor(options: { ignoresRevision: boolean }) {
    this.#ignoresRevision = options.ignoresRevision;
  }

  get rows(): number {
    return this.bars + this.signals_1s + this.signals_1m;
  }

  get isEqual(): boolean {
    return this.only_left + this.only_right + this.different === 0;
  }

  add(left: ReadonlyMap<string, CurrentRow>, right: ReadonlyMap<string, CurrentRow>): void {
    for (const [key, row] of left) {
      this.#count(row);
      const other = right.get(key);
      if (!other) {
        this.only_left += 1;
        this.#note(key, row, 'only_left', columnsBetween(row, undefined));
        continue;
      }
      const columns = columnsBetween(row, other);
      if (this.#ignoresRevision) delete columns.revision;
      if (Object.keys(columns).length === 0) continue;
      this.different += 1;
      this.#note(key, row, 'different', columns);
    }
    for (const [key, row] of right) {
      if (left.has(key)) continue;
      this.#count(row);
      this.only_right += 1;
      this.#note(key, row, 'only_right', columnsBetween(undefined, row));
    }
  }

  #count(row: CurrentRow): void {
    if (row.table === 'ta_microbars') this.bars += 1;
    else if (row.windowSize === 'PT1S') this.signals_1s += 1;
    else this.signals_1m += 1;
  }

  #note(key: string, row: CurrentRow, kind: RowDifference['kind'], columns: RowDifference['columns']): void {
    if (this.first && this.#firstKey <= key) return;
    const { table, symbol, windowSize, eventMs } = row;
    this.first = { kind, table, symbol, windowSize, eventMs, columns };
    this.#firstKey = key;
  }
}

function columnsBetween(left: CurrentRow | undefined, right: CurrentRow | undefined): RowDifference['columns'] {
  const [a, b] = [
    left && { revision: left.revision, ...left.values },
    right && { revision: right.revision, ...right.values },
  ];
  const columns: RowDifference['columns'] = {};
  for (const name of Object.keys(a ?? b ?? {})) {
    const values = { left: cell(a, name), right: cell(b, name) };
    if (!a || !b || values.left !== values.right) columns[name] = values;
  }
  return columns;
}

const cell = (row: Record<string, unknown> | undefined, name: string): unknown => row?.[name] ?? null;
