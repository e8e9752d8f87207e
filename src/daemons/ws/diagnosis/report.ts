/** A diagnosis as it is shown: what was looked at, the one case, what to do; an object for scripts, lines for people. */
import { type OutputFormat, renderObject, renderRows } from '../../../lib/ui/output.ts';
import { cases } from './cases.ts';
import type { ChangePlan } from './change.ts';
import type { Decision, Evidence } from './decide.ts';
import type { DiagnosisFacts } from './facts.ts';

export interface DiagnosisReport extends Record<string, unknown> {
  healthy: boolean;
  exit_code: number;
  case: string | null;
  title: string | null;
  finding: string;
  certainty: string;
  evidence: Evidence[];
  fix: readonly string[];
  verify: string | null;
  /** Commands that would make the change; empty where waiting or a person's work is the cure. */
  commands: string[];
  plan_id: string | null;
  change: string | null;
  /** Changed lines of the manifest, with --gitops. */
  diff: string[];
  not_looked_at: string[];
}

export function diagnosisReport(
  facts: DiagnosisFacts,
  decision: Decision,
  plan: ChangePlan | undefined,
): DiagnosisReport {
  const text = decision.case === null ? undefined : cases[decision.case];
  return {
    healthy: decision.exitCode === 0,
    exit_code: decision.exitCode,
    case: decision.case,
    title: text?.title ?? null,
    finding: decision.finding,
    certainty: decision.certainty,
    evidence: decision.evidence,
    fix: text?.fix ?? [],
    verify: text?.verify ?? null,
    commands: plan?.edit ? [] : (plan?.commands ?? []),
    plan_id: plan?.id ?? null,
    change: plan?.what ?? null,
    diff: plan?.edit?.diff ?? [],
    not_looked_at: [
      ...decision.evidence
        .filter(({ verdict }) => verdict === 'unknown')
        .map(({ looked_at, found }) => `${looked_at}: ${found}`),
      ...(facts.cluster?.unread ?? []),
    ],
  };
}

export function renderDiagnosis(report: DiagnosisReport, format: OutputFormat): string {
  if (format !== 'table') return renderObject(report, format);
  const lines = [renderRows(report.evidence, 'table'), ''];
  const certainty = report.certainty === 'likely' ? ' (likely)' : '';
  lines.push(
    report.case === null ? report.finding : `Case ${report.case}${certainty}, ${report.title}: ${report.finding}`,
  );
  if (report.fix.length > 0) lines.push('', ...report.fix.map((step, i) => `${i + 1}. ${step}`));
  if (report.commands.length > 0) lines.push('', ...report.commands.map((command) => `   ${command}`));
  if (report.diff.length > 0) lines.push('', ...report.diff);
  if (report.verify !== null) lines.push('', `Then: ${report.verify}`);
  return lines.join('\n');
}
