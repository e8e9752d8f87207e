/**
 * The engine's errors as its server would send them: exception code, text with version, HTTP status.
 * Source of the status: ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
 */

/** An error with ClickHouse's own code; goes to the client as X-ClickHouse-Exception-Code and text. */
export class EngineError extends Error {
  readonly exceptionCode: number;
  constructor(exceptionCode: number, message: string) {
    super(message);
    this.name = 'EngineError';
    this.exceptionCode = exceptionCode;
  }
}

/** An error that the front itself finds, in the engine's form. */
export function frontError(exceptionCode: number, name: string, text: string): EngineError {
  return new EngineError(exceptionCode, `Code: ${exceptionCode}. DB::Exception: ${text}. (${name})`);
}

/** Reads the engine's text. An error that is not the engine's counts as code 1001 (STD_EXCEPTION). */
export function asEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = /Code: (\d+)\. /.exec(message)?.[1];
  if (code !== undefined) return new EngineError(Number(code), message.trim());
  return new EngineError(1001, `Code: 1001. DB::Exception: ${message.trim()}. (STD_EXCEPTION)`);
}

const badRequest = new Set([
  6, 26, 27, 36, 38, 41, 42, 43, 44, 50, 53, 57, 62, 69, 70, 72, 73, 80, 82, 85, 116, 117, 130, 131, 321, 368, 386, 394,
  456, 457, 469,
]);
const notFound = new Set([46, 47, 60, 81, 115, 372]);
const forbidden = new Set([164, 192, 193, 194, 497, 516]);

export function httpStatusOf(exceptionCode: number): number {
  if (badRequest.has(exceptionCode)) return 400;
  if (notFound.has(exceptionCode)) return 404;
  if (forbidden.has(exceptionCode)) return 403;
  if (exceptionCode === 223) return 413;
  if (exceptionCode === 48) return 501;
  return 500;
}
