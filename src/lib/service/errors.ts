/**
 * The one error tree.
 * Every error that a person may see says what happened, why, and what to do next; it carries a stable code (docs/errors.md
 * lists all) and the exit code of the process. A programming mistake stays an ordinary Error and keeps its stack.
 */

/** Exit codes of the command line (design 6). */
export const exitCode = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  unreachable: 3,
  refused: 4,
  launcher: 5,
  problemFound: 10,
  cannotDetermine: 11,
  interrupted: 130,
} as const;

export interface TorghutErrorFields {
  /** Stable snake_case code, listed in docs/errors.md. */
  code: string;
  /** What happened, to what. */
  what: string;
  /** Why, as far as known. */
  why?: string;
  /** What the reader should do next. */
  next?: string;
  /** May the same call succeed later without anybody changing anything? */
  canRetry?: boolean;
  exitCode?: number;
  cause?: unknown;
}

export class TorghutError extends Error {
  readonly code: string;
  readonly what: string;
  readonly why: string | undefined;
  readonly next: string | undefined;
  readonly canRetry: boolean;
  readonly exitCode: number;

  constructor(fields: TorghutErrorFields) {
    super(
      [fields.what, fields.why].filter(Boolean).join(': '),
      fields.cause === undefined ? {} : { cause: fields.cause },
    );
    this.name = 'TorghutError';
    this.code = fields.code;
    this.what = fields.what;
    this.why = fields.why;
    this.next = fields.next;
    this.canRetry = fields.canRetry ?? false;
    this.exitCode = fields.exitCode ?? exitCode.unexpected;
  }
}

/** Wrong arguments or configuration: exit 2. */
export function usageError(fields: Omit<TorghutErrorFields, 'exitCode'>): TorghutError {
  return new TorghutError({ ...fields, exitCode: exitCode.usage });
}

/** A dependency cannot be reached: exit 3, may be retried. */
export function unreachableError(fields: Omit<TorghutErrorFields, 'exitCode'>): TorghutError {
  return new TorghutError({ canRetry: true, ...fields, exitCode: exitCode.unreachable });
}

/** A safety rule refuses: exit 4. */
export function refusedError(fields: Omit<TorghutErrorFields, 'exitCode'>): TorghutError {
  return new TorghutError({ ...fields, exitCode: exitCode.refused });
}

/** The writer was replaced by another process and must not write again (design 5). */
export function fencedError(owner: string): TorghutError {
  return new TorghutError({
    code: 'fenced',
    what: `the writer ${owner} was fenced`,
    why: 'another process took over the same owner',
    next: 'let this process end; the newer one goes on',
    exitCode: exitCode.refused,
  });
}

/** Text of an unknown thrown value, for log lines. */
export function describeError(error: unknown): string {
  if (error instanceof TorghutError) return `${error.code}: ${error.message}`;
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}

/** The code of a thrown value where it has one (ours, Node's, ClickHouse's, Postgres'). */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' || typeof code === 'number' ? String(code) : undefined;
}
