/**
 * Bringing back an earlier strategy catalog as a plan (spec trading 10.7). Pure: facts in, plan out.
 * Guarantees: what can only switch strategies off may be done with --yes; whatever switches one on, or changes what a running
 * one may do, needs the plan's own id; positions of strategies that end are named, never left out.
 */
import type { StrategyDifference } from '../strategy/compare.ts';
import { type Check, planIdOf } from './plan.ts';

export interface RollbackFacts {
  /** File that the loop reads. */
  path: string;
  /** sha256 of the file as it is now; null when it cannot be read. */
  fileDigest: string | null;
  /** In force by the ledger; undefined before the first catalog. */
  inForce: { version: number; digest: string } | undefined;
  /** What the file would be. */
  target: { digest: string; version: number | undefined };
  differences: readonly StrategyDifference[];
  /** Open positions by strategy. */
  positions: readonly { strategy: string; symbol: string; qty: string }[];
}

export interface RollbackPlan {
  id: string;
  steps: readonly string[];
  needsConfirm: boolean;
  /** Positions of strategies that would no longer be enabled: closing them is a decision of its own. */
  left: RollbackFacts['positions'];
}

export const rollbackCheckIds = ['catalog_in_force', 'positions_left'] as const;

/** Does the difference only take away? */
const onlyEnds = ({ change, field, to }: StrategyDifference): boolean =>
  change === 'removed' || (change === 'changed' && field === 'enabled' && to === 'false');

export function planRollback(facts: RollbackFacts): RollbackPlan {
  const { path, fileDigest, target, differences, inForce, positions } = facts;
  const isThere = fileDigest === target.digest;
  const ended = new Set(differences.filter(onlyEnds).map(({ strategy }) => strategy));
  const left = positions.filter(({ strategy }) => ended.has(strategy));
  const name = target.version === undefined ? 'the changed catalog' : `version ${target.version}`;
  const steps = isThere
    ? []
    : [
        `write ${name} (sha256 ${target.digest.slice(0, 12)}) over ${path}`,
        ...differences.map(({ strategy, change, field, from, to }) =>
          change === 'changed' ? `${strategy}: ${field} ${from} → ${to}` : `${strategy}: ${change} (${from} → ${to})`,
        ),
        ...left.map(
          ({ strategy, symbol, qty }) => `${strategy} holds ${qty} ${symbol}: it stays until somebody closes it`,
        ),
      ];
  return {
    id: planIdOf({
      action: 'strategy_rollback',
      path,
      fileDigest,
      target: target.digest,
      inForce: inForce?.digest ?? null,
    }),
    steps,
    needsConfirm: differences.some((difference) => !onlyEnds(difference)),
    left,
  };
}

export function rollbackChecks(facts: {
  wanted: string;
  /** Digest that the loop has in force; undefined when no loop was asked. */
  seen: string | null | undefined;
  left: RollbackFacts['positions'];
}): Check[] {
  const { wanted, seen, left } = facts;
  const short = (digest: string | null | undefined) => digest?.slice(0, 12) ?? 'none';
  return [
    {
      id: rollbackCheckIds[0],
      signal: `the loop has the catalog ${short(wanted)} in force`,
      value: seen === undefined ? 'no loop was asked' : short(seen),
      verdict: seen === undefined ? 'unknown' : seen === wanted ? 'ok' : 'problem',
    },
    {
      id: rollbackCheckIds[1],
      signal: 'no position of a strategy that was switched off',
      value: left.map(({ strategy, symbol, qty }) => `${strategy} ${qty} ${symbol}`).join('; ') || 'none',
      verdict: left.length === 0 ? 'ok' : 'problem',
    },
  ];
}
