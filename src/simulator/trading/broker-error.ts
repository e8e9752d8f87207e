/**
 * Refusals of the trading API: HTTP status, eight-digit code, message and further keys, exactly as clients see them.
 * Facts: alpaca-protocol 3 (error table). The HTTP status and the first digits of the code may differ (422 with 40010001).
 */

export class BrokerError extends Error {
  readonly status: number;
  /** undefined where Alpaca sends a message alone (401). */
  readonly code: number | undefined;
  readonly extra: Record<string, unknown>;

  constructor(status: number, code: number | undefined, message: string, extra: Record<string, unknown> = {}) {
    super(message);
    this.name = 'BrokerError';
    this.status = status;
    this.code = code;
    this.extra = extra;
  }

  /** The JSON body of the answer. */
  body(): Record<string, unknown> {
    return { ...(this.code === undefined ? {} : { code: this.code }), message: this.message, ...this.extra };
  }
}

/** 422/40010001: a parameter is missing or malformed. */
export function invalidParameter(message: string): BrokerError {
  return new BrokerError(422, 40010001, message);
}

/** 422/42210000: well formed, but a rule of the exchange or of the order's state forbids it. */
export function unprocessable(message: string, extra: Record<string, unknown> = {}): BrokerError {
  return new BrokerError(422, 42210000, message, extra);
}

/** 403/40310000: money, shares, wash trade, suspended trading. */
export function forbidden(message: string, extra: Record<string, unknown> = {}): BrokerError {
  return new BrokerError(403, 40310000, message, extra);
}

/** 404/40410000. */
export function notFound(message: string): BrokerError {
  return new BrokerError(404, 40410000, message);
}

/** 401 without a code, as the trading host sends it. */
export function unauthorized(): BrokerError {
  return new BrokerError(401, undefined, 'unauthorized');
}

/** 429/42910000. */
export function rateLimited(): BrokerError {
  return new BrokerError(429, 42910000, 'rate limit exceeded');
}
