/** Points and faults of the matrix, and which fault a point needs in order to be passed at all. */
import { type CrashPoint, crashPoints } from '../../../src/lib/service/crash-point.ts';

const rooms = /^(cycle|claim|check|broker_io|post|settle|refuse|lookup|expire|recover|feed|reconcile|cancel|leader)\./;
/** The points of the trading loop; other parts of the house have matrices of their own. */
export const tradePoints: readonly CrashPoint[] = crashPoints.filter((point) => rooms.test(point));

/** Faults of the simulator, as it takes them (src/simulator/trading/index.ts). */
const post = { method: 'POST', path: '/v2/orders' };
export const profiles = {
  none: [],
  'accepted, then 5xx': [{ name: 'http_5xx_after', count: 3, ...post }],
  'accepted, never answered': [{ name: 'post_timeout_after', count: 1, ...post }],
  'refused 5xx': [{ name: 'http_5xx_before', count: 2, ...post }],
  '429': [{ name: 'http_429', count: 3, ...post }],
  'updates twice and late': [
    { name: 'updates_duplicate', copies: 2, probability: 0.6 },
    { name: 'updates_delay', ms: 300, probability: 0.4 },
  ],
  'updates lost': [{ name: 'updates_drop' }, { name: 'http_5xx_after', count: 2, ...post }],
} as const satisfies Record<string, readonly ({ name: string } & Record<string, unknown>)[]>;

export type Profile = keyof typeof profiles;
export const profileNames = Object.keys(profiles) as Profile[];

const fed = profileNames.filter((name) => name !== 'updates lost');

/** Profiles under which a point is certain to be passed; every other point is passed under all of them. */
const needs: Partial<Record<CrashPoint, readonly Profile[]>> = {
  'refuse.before': ['429'],
  'refuse.committed': ['429'],
  // With its updates an accepted order may be settled before anybody looks.
  'lookup.before': ['updates lost', 'refused 5xx'],
  'lookup.after': ['updates lost', 'refused 5xx'],
  'expire.before': ['refused 5xx'],
  'expire.committed': ['refused 5xx'],
  'feed.before': fed,
  'feed.in_transaction': fed,
  'feed.committed': fed,
  'reconcile.order_before': ['updates lost'],
  'reconcile.order_applied': ['updates lost'],
};

/** Points that every submitted order passes: the process may die at a later one of them too. */
const perOrder =
  /^(claim|check|broker_io|post|settle)\.|^cycle\.(before|decided|in_transaction|committed|risk_done|submitted)$/;

export interface MatrixCase {
  point: CrashPoint;
  profile: Profile;
  /** The process dies at this pass of the point. */
  pass: number;
}

/** `count` cases from number `first` on: every point in turn, its faults in turn, its passes in turn. */
export function matrixCases(first: number, count: number): MatrixCase[] {
  return Array.from({ length: count }, (_, i) => {
    const number = first + i;
    const point = tradePoints[number % tradePoints.length] as CrashPoint;
    const round = Math.floor(number / tradePoints.length);
    const allowed = needs[point] ?? profileNames;
    const profile = allowed[(round + number) % allowed.length] as Profile;
    return { point, profile, pass: perOrder.test(point) ? 1 + (round % 3) : 1 };
  });
}
