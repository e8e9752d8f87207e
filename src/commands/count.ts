/** Parses an option that is a whole number within a range. */
import { usageError } from '../lib/service/errors.ts';

/** @throws `bad_count` (exit 2) */
export function parseCount(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw usageError({
      code: 'bad_count',
      what: `${option} ${text} is not valid`,
      next: `give a whole number from ${min} to ${max}`,
    });
  };
}
