/** Parses `--timeout`: whole machine seconds. @throws `bad_option` (exit 2) */
import { usageError } from '../lib/service/errors.ts';

export function parseSeconds(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= 3_600) return value;
  throw usageError({
    code: 'bad_option',
    what: `--timeout ${text} is not valid`,
    next: 'give a whole number of seconds from 1 to 3600',
  });
}
