/** Parses a point of market time on a command line. @throws `time_invalid` (exit 2) */
import { parseTimestampNs } from '../lib/market/time.ts';
import { usageError } from '../lib/service/errors.ts';

export function parseInstant(option: string): (text: string) => bigint {
  return (text) => {
    const ns = parseTimestampNs(text);
    if (ns !== undefined) return ns;
    throw usageError({
      code: 'time_invalid',
      what: `${option} ${text} is no point of time`,
      next: 'give RFC 3339, for example 2013-10-08T13:30:00Z',
    });
  };
}
