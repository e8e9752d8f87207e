/**
 * What every runbook command shares: checks with their verdicts, and the id of a plan.
 * Guarantee: the id is a hash of the plan and of the facts it rests on, the same in every process; other facts, other id.
 */
import { createHash } from 'node:crypto';

export type Verdict = 'ok' | 'problem' | 'unknown';

/** One look at one thing; `id` is stable and named by the runbook page. */
export interface Check {
  id: string;
  /** What is looked at and the rule. */
  signal: string;
  value: string;
  verdict: Verdict;
}

type Fact = string | number | boolean | null | undefined | readonly Fact[] | { readonly [name: string]: Fact };

/** First 12 hex digits of the sha256 over the facts with their names in order. */
export function planIdOf(facts: Fact): string {
  return createHash('sha256').update(canonical(facts)).digest('hex').slice(0, 12);
}

function canonical(fact: Fact): string {
  if (Array.isArray(fact)) return `[${fact.map(canonical).join()}]`;
  if (typeof fact === 'object' && fact !== null) {
    const entries = Object.entries(fact).filter(([, value]) => value !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${canonical(value)}`).join()}}`;
  }
  return JSON.stringify(fact ?? null);
}

/** The checks that are not ok, as text for an error. */
export function describeProblems(checks: readonly Check[]): string {
  return checks
    .filter((check) => check.verdict !== 'ok')
    .map((check) => `${check.id}: ${check.value} (${check.signal})`)
    .join('; ');
}

/** What a condition comes to; undefined when nobody could tell. */
export function verdictOf(isOk: boolean | undefined): Verdict {
  if (isOk === undefined) return 'unknown';
  return isOk ? 'ok' : 'problem';
}

/** The conditions on the books that trading needs, whatever is to be allowed: no open claim, no drift from the broker. */
export function bookChecks(facts: { unresolvedClaims: number; driftSymbols: readonly string[] }): Check[] {
  return [
    {
      id: 'unresolved_claims',
      signal: 'no order of unknown outcome',
      value: String(facts.unresolvedClaims),
      verdict: verdictOf(facts.unresolvedClaims === 0),
    },
    {
      id: 'position_drift',
      signal: 'positions of the broker equal the recorded fills',
      value: facts.driftSymbols.join(' ') || 'none',
      verdict: verdictOf(facts.driftSymbols.length === 0),
    },
  ];
}
