/** `torghut ws diagnose-406` as one call: facts, decision, the change it proposes, and the change itself when it is wanted. */
import { askConsent } from '../../../lib/runbook/confirm.ts';
import { openJournal } from '../../../lib/runbook/journal.ts';
import { describeError, exitCode, usageError } from '../../../lib/service/errors.ts';
import { type ChangePlan, changeFor, makeChange, planChange } from './change.ts';
import { decide } from './decide.ts';
import { type GatherOptions, gatherFacts } from './gather.ts';
import { type DiagnosisReport, diagnosisReport } from './report.ts';

export interface DiagnoseOptions extends GatherOptions {
  /** Folder with the manifests. */
  gitops: string | undefined;
  /** Change the cluster directly. */
  apply: boolean;
  yes: boolean;
  dryRun: boolean;
  confirm: string | undefined;
  /** Machine ms without any pod in a controlled restart. */
  settleMs: number;
  signal: AbortSignal;
  tell(line: string): void;
  /** Shows the report before a change is asked for. */
  show(report: DiagnosisReport): void;
}

/** @returns the exit code. @throws as `gatherFacts`, `restart_too_soon`, `nothing_to_change`, consent errors (exit 4) */
export async function diagnose(options: DiagnoseOptions): Promise<number> {
  const { kubectl, clock, gitops, apply } = options;
  const facts = await gatherFacts(options);
  const decision = decide(facts);
  const change = changeFor(decision, facts);
  const { cluster } = facts;
  const isWanted = apply || gitops !== undefined;
  if (change === undefined || cluster === undefined || kubectl === undefined) {
    options.show(diagnosisReport(facts, decision, undefined));
    if (isWanted && options.confirm !== undefined) throw nothingToChange();
    if (isWanted) options.tell('nothing is changed: this command has no change for what it found');
    return decision.exitCode;
  }
  let plan: ChangePlan;
  try {
    plan = planChange(change, { decision, cluster, kubectl, gitops, clock });
  } catch (error) {
    // The diagnosis is worth reading also when its change has to wait.
    options.show(diagnosisReport(facts, decision, undefined));
    if (isWanted) throw error;
    options.tell(describeError(error));
    return decision.exitCode;
  }
  options.show(diagnosisReport(facts, decision, plan));
  if (!isWanted) return decision.exitCode;
  options.tell(`plan ${plan.id}: ${plan.what}`);
  const consent = { ...options, what: plan.what, planId: plan.id, isDestructive: false };
  if (!(await askConsent(consent))) return decision.exitCode;
  const journal = openJournal(options.home, 'ws-diagnose-406');
  const entry = { at: new Date(clock.nowMs()).toISOString(), plan: plan.id, case: decision.case, what: plan.what };
  journal.record({ ...entry, where: plan.edit?.file ?? `namespace ${cluster.namespace}`, result: 'begun' });
  await makeChange(plan, { ...options, kubectl, cluster });
  journal.record({ ...entry, result: options.signal.aborted ? 'interrupted' : 'done' });
  return options.signal.aborted ? exitCode.interrupted : exitCode.ok;
}

function nothingToChange(): Error {
  return usageError({
    code: 'nothing_to_change',
    what: 'there is nothing to confirm',
    why: 'the case found now has no change that this command makes',
    next: 'read the diagnosis again',
  });
}
