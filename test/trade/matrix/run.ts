/**
 * One run of the matrix: a daemon that dies at a point while the exchange misbehaves, and one that goes on after it without
 * help; then the verdict.
 */
import { join } from 'node:path';
import { query } from '../../ledger/support/postgres.ts';
import { type MatrixAccount, openAccount, type RunningDaemon, readReport } from './account.ts';
import { type MatrixCase, profiles } from './profiles.ts';
import { type Verdict, verdictOf } from './verdict.ts';
import type { MatrixWorld } from './world.ts';

export interface MatrixResult extends Verdict {
  case: MatrixCase;
  /** What the points reported before they struck: `point#pass pid`. */
  hits: string;
  /** Machine ms. */
  ms: number;
  /** Empty unless something did not happen: with what the daemons said. */
  failure: string;
}

const STEP_MS = 20;
const LIMIT_MS = 180_000;

/**
 * Works the daemon until it is dead, or drained: everything read and decided, then the end phase.
 * @param isEnough ends it before, as stuck
 */
export async function workUntilDone(
  account: MatrixAccount,
  daemon: RunningDaemon,
  isEnough: (account: MatrixAccount) => Promise<boolean> = async () => false,
): Promise<'died' | 'drained' | 'stuck'> {
  const deadline = performance.now() + LIMIT_MS;
  let isDraining = false;
  while (performance.now() < deadline) {
    if (daemon.ended()) return 'died';
    if (await isEnough(account)) return 'stuck';
    const status = await daemon.status();
    if (status?.drained) return 'drained';
    // Every row is decided, and every decision has left `planned`: only now may the end phase begin.
    const hasRead = status?.cursor['PT1S:0'] === String(account.rows) && status.decisions_total === account.rows;
    if (hasRead && status?.decisions.planned === 0 && !isDraining) {
      isDraining = true;
      await daemon.drain();
    }
    await new Promise((done) => setTimeout(done, STEP_MS));
  }
  return 'stuck';
}

/** @param isEnough asked while the second process works: what a wrong build has done need not become quiet */
export async function runCase(
  world: MatrixWorld,
  wanted: MatrixCase,
  isEnough?: (account: MatrixAccount) => Promise<boolean>,
): Promise<MatrixResult> {
  const startedAt = performance.now();
  const account = await openAccount(world);
  const report = join(account.home, 'hits');
  const env = { TORGHUT_CRASH_AT: `${wanted.point}#${wanted.pass}`, TORGHUT_CRASH_REPORT: report };
  const said: string[] = [];
  try {
    for (const fault of profiles[wanted.profile]) account.exchange.faults.add(fault);
    const first = account.start(undefined, env);
    const firstEnd = await workUntilDone(account, first);
    const exit = first.ended() ? await first.exit : undefined;
    if (firstEnd !== 'died' || exit?.signal !== 'SIGKILL') {
      said.push(`the first process ${firstEnd} ${JSON.stringify(exit)} ${first.stderr()}`);
    }
    first.child.kill('SIGKILL');
    const second = account.start(undefined, env);
    const secondEnd = await workUntilDone(account, second, isEnough);
    if (secondEnd !== 'drained') {
      said.push(`the second process ${secondEnd} ${JSON.stringify(await second.status())} ${second.stderr()}`);
    }
    second.child.kill('SIGTERM');
    await Promise.race([second.exit, new Promise((done) => setTimeout(done, 5_000))]);
    if (said.length > 0) {
      const ends = await query(account.dsn, 'select status, reasons, count(*) from trade_decisions group by 1, 2');
      said.push(JSON.stringify(ends));
    }
    const hits = readReport(report);
    const verdict = await verdictOf(account);
    return { ...verdict, case: wanted, hits, ms: performance.now() - startedAt, failure: said.join('\n') };
  } finally {
    await account.close();
  }
}

/** What a result shows as wrong; empty when the run holds. */
export function problemsOf(result: MatrixResult): string[] {
  const { point, profile, pass } = result.case;
  const name = `${point}#${pass} under ${profile}`;
  const problems = result.wrong.map((what) => `${name}: ${what}`);
  if (result.failure !== '') problems.push(`${name}: ${result.failure}`);
  const reported = new RegExp(`^${point.replace('.', '\\.')}#${pass} \\d+\n$`).test(result.hits);
  if (!reported) problems.push(`${name}: the point did not report its hit: ${JSON.stringify(result.hits)}`);
  if (result.orders < 5) problems.push(`${name}: only ${result.orders} orders`);
  return problems;
}
