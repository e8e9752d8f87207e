/**
 * What an error of the signal store means for the one who writes or reads it (spec ta 4.5).
 * The client's error class differs between package copies, so only its `code` is looked at.
 */
import { codeOf, describeError, exitCode, TorghutError, unreachableError } from '../service/errors.ts';

/**
 * `retry`: it passes by itself. `halt`: the store cannot take rows until somebody acts (disk full): keep the rows and probe.
 * `fatal`: the same rows will never be taken.
 */
export type StoreErrorKind = 'retry' | 'halt' | 'fatal';

/** No space left, as the engine says it, and as the sink itself does a little before. */
const haltCodes = new Set(['243', '75', 'store_nearly_full']);
/** Table or database gone, wrong password, and everything that says the row does not fit the table. */
const fatalCodes = new Set('6 8 10 16 26 27 41 44 47 50 53 60 62 70 72 81 115 117 386 516'.split(' '));

export function kindOfStoreError(error: unknown): StoreErrorKind {
  const code = codeOf(error) ?? '';
  if (haltCodes.has(code) || /No space left on device/i.test(describeError(error))) return 'halt';
  if (fatalCodes.has(code)) return 'fatal';
  // Network, overload, memory, a read-only replica, and what nobody has met yet: rows are kept, so trying again is safe.
  return 'retry';
}

/** The error for readers: one that the caller may retry, or one that needs a person. */
export function storeError(error: unknown): TorghutError {
  if (error instanceof TorghutError) return error;
  const code = codeOf(error);
  if (code === '60' || code === '81') {
    return unreachableError({
      code: 'signal_tables_missing',
      what: 'the signal database has not its tables yet',
      why: describeError(error).slice(0, 300),
      next: 'start the sink (`torghut ta`), which makes them',
      cause: error,
    });
  }
  if (kindOfStoreError(error) === 'fatal') {
    return new TorghutError({
      code: 'signal_store_rejects',
      what: 'ClickHouse rejects the request',
      why: `code ${codeOf(error)}: ${describeError(error).slice(0, 300)}`,
      next: 'check the schema and the user of the signal database',
      cause: error,
    });
  }
  return unreachableError({
    code: 'signal_store_unreachable',
    what: 'ClickHouse does not answer as it should',
    why: describeError(error).slice(0, 300),
    next: 'it is tried again; look at the ClickHouse process when it lasts',
    cause: error,
  });
}

/** What an operator's command throws: our own errors and mistakes in the program as they are, the store's by their meaning. */
export function storeFailure(error: unknown): unknown {
  return codeOf(error) === undefined ? error : storeError(error);
}

/** For a diagnosis: a store that cannot be asked leaves the question open (exit 11); a user's mistake stays one. */
export function undetermined(error: unknown): unknown {
  const known = storeFailure(error);
  if (!(known instanceof TorghutError) || known.exitCode === exitCode.usage) return known;
  const { code, what, why, next } = known;
  return new TorghutError({
    code,
    what,
    ...(why === undefined ? {} : { why }),
    ...(next === undefined ? {} : { next }),
    exitCode: exitCode.cannotDetermine,
    cause: error,
  });
}
