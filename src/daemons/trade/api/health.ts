/**
 * Liveness, readiness and dependencies of `torghut trade` (spec trading 7). Liveness is the process alone: an outage of a
 * store must not restart it. Readiness names what keeps it false; the AI reviewer is never part of it.
 * Answers of the dependencies are kept 8 machine seconds, and one of up to 20 is better than none while a new one is asked.
 */
import type { OrderLedger } from '../../../lib/ledger/open.ts';
import { describeError } from '../../../lib/service/errors.ts';
import { machineMs } from '../../../lib/service/machine.ts';
import { readinessJson, type StatusBoard } from '../status.ts';
import { liveGate, universeJson } from '../status-controls.ts';
import { timeText } from './rows.ts';

const CACHE_MS = 8_000;
const STALE_MS = 20_000;
const PROBE_MS = 3_000;

export interface Dependency {
  ok: boolean;
  detail: string;
}

export type Probe = () => Promise<void>;

export interface HealthPorts {
  board: StatusBoard;
  clock: { nowMs(): number };
  ledger(): OrderLedger | undefined;
  /** Asks the signal store; rejects when it does not answer. */
  pingStore: Probe;
}

async function asked(probe: Probe): Promise<Dependency> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${PROBE_MS} ms`)), PROBE_MS);
  });
  try {
    await Promise.race([probe(), limit]);
    return { ok: true, detail: 'ok' };
  } catch (error) {
    return { ok: false, detail: describeError(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** Keeps an answer for a while; who asks while a new one is on its way gets the old one if it is not too old. */
function cached(probe: () => Promise<Dependency>): () => Promise<Dependency> {
  let known: { answer: Dependency; atMs: number } | undefined;
  let asking: Promise<Dependency> | undefined;
  return async () => {
    const age = known === undefined ? Number.POSITIVE_INFINITY : machineMs() - known.atMs;
    if (known && age < CACHE_MS) return known.answer;
    asking ??= probe()
      .then((answer) => {
        known = { answer, atMs: machineMs() };
        return answer;
      })
      .finally(() => {
        asking = undefined;
      });
    return known && age < STALE_MS ? known.answer : asking;
  };
}

export function healthOf({ board, clock, ledger, pingStore }: HealthPorts) {
  const postgres = () =>
    asked(async () => {
      const open = ledger();
      if (!open) throw new Error(board.lastError ?? 'the ledger is not connected');
      await open.check();
    });
  const store = () => asked(pingStore);
  /** By what the loop has just seen of it: health must not use up the broker's budget. */
  const alpaca = (): Dependency => {
    if (!board.settings.isEnabled) return { ok: true, detail: 'skipped (trading disabled)' };
    if (board.desk?.isBrokerAuthLatched) return { ok: false, detail: 'the broker refuses the keys' };
    const { lastReconcileError, lastReconcileAtMs } = board.desk ?? {};
    if (lastReconcileError !== undefined) return { ok: false, detail: lastReconcileError };
    return lastReconcileAtMs === undefined
      ? { ok: !board.leader, detail: board.leader ? 'not reconciled yet' : 'a standby asks nothing' }
      : { ok: true, detail: `reconciled at ${timeText(lastReconcileAtMs)}` };
  };
  const storeIfNeeded = (ask: () => Promise<Dependency>): Promise<Dependency> =>
    board.settings.isEnabled ? ask() : Promise.resolve({ ok: true, detail: 'skipped (trading disabled)' });
  const cachedPostgres = cached(postgres);
  const cachedStore = cached(store);

  return {
    ready: async () => {
      const [database, clickhouse] = await Promise.all([cachedPostgres(), storeIfNeeded(cachedStore)]);
      const readiness = readinessJson(board);
      const reasons = [...(readiness.reason_codes as string[])];
      const isSchema = /schema|migrat/i.test(database.detail);
      if (!database.ok) reasons.push(isSchema ? 'database_schema_mismatch' : 'database_unavailable');
      const broker = alpaca();
      if (board.leader && !broker.ok && !reasons.includes('broker_auth')) reasons.push('broker_unavailable');
      const isReady = reasons.length === 0;
      return {
        status: isReady ? 'ok' : 'degraded',
        ready: isReady,
        reason_codes: reasons,
        dependencies: {
          postgres: isSchema ? { ok: true, detail: 'answers' } : database,
          database,
          clickhouse,
          alpaca: broker,
        },
        scheduler: {
          running: board.lastCycleAtMachineMs !== undefined,
          leader: board.leader,
          last_run_at: timeText(board.cycle?.lastRunAtMs),
          last_reconcile_at: timeText(board.desk?.lastReconcileAtMs),
        },
        live_submission_gate: liveGate(board),
        last_error: board.lastError,
      };
    },
    /** Asked anew each time. */
    trading: async () => {
      const [database, clickhouse] = await Promise.all([postgres(), storeIfNeeded(store)]);
      const dependencies = { postgres: database, clickhouse, alpaca: alpaca() };
      const isOk = Object.values(dependencies).every(({ ok }) => ok) && board.cycle?.universe?.isBlocked !== true;
      return {
        status: isOk ? 'ok' : 'degraded',
        dependencies,
        universe: universeJson(board, clock.nowMs()),
        last_reconcile_at: timeText(board.desk?.lastReconcileAtMs),
      };
    },
  };
}
