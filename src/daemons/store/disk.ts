/**
 * `torghut clickhouse disk` from question to verification: asks every replica, plans, and with consent purges. The report needs
 * neither the trading side nor the whole cluster: what does not answer is said so.
 */
import { openStoreNodes, type StoreNodes } from '../../embedded/nodes.ts';
import { embeddedDatabase } from '../../embedded/variables.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import { openJournal } from '../../lib/runbook/journal.ts';
import { describeError, TorghutError, unreachableError } from '../../lib/service/errors.ts';
import { readSamples } from '../../lib/signals/disk/history.ts';
import { issuedAt } from '../../lib/signals/disk/plan.ts';
import { automaticSteps, type PurgeResult, purge, requireFreshPlan } from '../../lib/signals/disk/purge.ts';
import { askNodes, type DiskReport, reportDisk, unknownReport } from '../../lib/signals/disk/report.ts';
import { keepReserve, releaseReserve } from '../../lib/signals/disk/reserve.ts';
import { readPipelineState } from './pipeline-state.ts';
import { knownRuns } from './run-registry.ts';

export interface DiskRequest {
  home: string;
  targetFreeRatio: number;
  /** Plan days that are not past their TTL as well. */
  liveDays: boolean;
}

export interface Purged extends PurgeResult {
  journal: string;
  journal_unwritten: number;
}

/** The nodes of the store for as long as one command looks at them. */
export class DiskDesk {
  readonly #request: DiskRequest;
  readonly #nodes: StoreNodes | undefined;
  readonly #why: string;

  private constructor(request: DiskRequest, nodes: StoreNodes | undefined, why: string) {
    this.#request = request;
    this.#nodes = nodes;
    this.#why = why;
  }

  /** @throws a user's mistake in the configuration; a store that does not answer is for the report to say */
  static async open(request: DiskRequest): Promise<DiskDesk> {
    try {
      return new DiskDesk(request, await openStoreNodes({ home: request.home }), '');
    } catch (error) {
      if (!(error instanceof TorghutError && error.canRetry)) throw error;
      return new DiskDesk(request, undefined, describeError(error));
    }
  }

  /** @param issuedSeconds when the plan to confirm was made */
  async report(issuedSeconds?: number): Promise<DiskReport> {
    const nodes = this.#nodes;
    if (!nodes) return unknownReport(embeddedDatabase, this.#why);
    const { home, targetFreeRatio, liveDays } = this.#request;
    const [asked, pipeline] = await Promise.all([askNodes(nodes.nodes, nodes.database), readPipelineState(home)]);
    const question = {
      database: nodes.database,
      isLocal: nodes.isEmbedded,
      targetFreeRatio,
      liveDays,
      issuedSeconds,
      runs: knownRuns(home),
      samples: readSamples(home),
    };
    return reportDisk(asked, question, pipeline);
  }

  /** Reads anew, so that a confirmed plan is held against the facts as they are. @throws `plan_too_old` (exit 4) */
  async planToConfirm(id: string): Promise<DiskReport> {
    const report = await this.report(issuedAt(id));
    if (report.checked_at !== null) requireFreshPlan(id, Date.parse(report.checked_at) / 1000);
    return report;
  }

  /**
   * Runs the automatic steps of the report's plan, after consent.
   * @returns undefined when nothing was to be done @throws `plan_changed`, `confirmation_needed` (exit 4)
   */
  async purge(report: DiskReport, confirm: string, dryRun: boolean): Promise<Purged | undefined> {
    const { plan } = report;
    const nodes = this.#nodes;
    if (!nodes || plan === null) {
      throw unreachableError({
        code: 'store_silent',
        what: 'nothing can be freed now',
        why: report.reasons.join('; '),
        next: 'bring a replica of the store back first',
      });
    }
    const what = `purge ${automaticSteps(plan).length} objects`;
    if (!(await askConsent({ what, planId: plan.id, confirm, isDestructive: true, dryRun }))) return undefined;
    const { home } = this.#request;
    const journal = openJournal(home, 'clickhouse-disk');
    const result = await purge(nodes.nodes, {
      database: nodes.database,
      plan,
      journal: journal.record,
      releaseReserve: () => (nodes.isEmbedded ? releaseReserve(home) : 0),
    });
    if (nodes.isEmbedded) keepReserve(home);
    return { ...result, journal: journal.path, journal_unwritten: journal.unwritten };
  }

  async close(): Promise<void> {
    await this.#nodes?.close();
  }
}

/** @throws `purge_incomplete` (exit 1) when a step failed or a replica takes no row */
export function demandVerified(result: PurgeResult): void {
  if (result.is_verified) return;
  const failed = result.steps.filter(({ error }) => error !== null).map(({ what, error }) => `${what}: ${error}`);
  const silent = Object.entries(result.canary)
    .filter(([, answer]) => answer !== 'ok')
    .map(([replica, answer]) => `test row on ${replica}: ${answer}`);
  throw new TorghutError({
    code: 'purge_incomplete',
    what: 'not everything was freed as planned',
    why: [...failed, ...silent].join('; '),
    next: 'read the report again; on a full disk DROP TABLE … SYNC works where TRUNCATE does not',
  });
}
