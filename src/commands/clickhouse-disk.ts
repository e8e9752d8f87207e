/** `torghut clickhouse disk`: how full the store is, why, and what would free it; purges what nobody needs when confirmed. */
import type { Command } from 'commander';
import { openSignalStore, type SignalStore } from '../embedded/connect.ts';
import { embeddedDatabase } from '../embedded/variables.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { openJournal } from '../lib/runbook/journal.ts';
import { describeError, exitCode, TorghutError, usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { issuedAt } from '../lib/signals/disk/plan.ts';
import { automaticSteps, purge, requireFreshPlan } from '../lib/signals/disk/purge.ts';
import { type DiskReport, reportDisk, unknownReport } from '../lib/signals/disk/report.ts';
import { renderDiskReport, renderPlan } from '../lib/ui/disk-report.ts';
import { type OutputFormat, parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  targetFree: string;
  plan: boolean;
  dryRun: boolean;
  confirm?: string;
  output: string;
}

/** `30` or `30%` as a ratio. @throws `target_invalid` (exit 2) */
function targetRatio(text: string): number {
  const value = Number(text.replace(/%$/, ''));
  if (text !== '' && value > 0 && value < 100) return value / 100;
  throw usageError({ code: 'target_invalid', what: `--target-free ${text} is no share`, next: 'give for example 30%' });
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--target-free <percent>', 'share of the disk that the plan makes free', '30%')
    .option('--plan', 'print the plan with its statements only', false)
    .option('--dry-run', 'the same as --plan', false)
    .option('--confirm <plan-id>', 'run the automatic steps of this plan, made within the last ten minutes')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\n--confirm runs only steps of class 1 (logs of the server itself) and class 2 (detached parts that are ignored,\n' +
        'cloned or covered); the statements of all other classes are printed for a person to judge and run.\n' +
        'Every purge is written to journal/clickhouse-disk.ndjson in the home.\n' +
        '\nExit codes: 0 ok, 10 warn, 11 critical, 12 emergency, 13 unknown.\n' +
        '\nExamples:\n  torghut clickhouse disk\n  torghut clickhouse disk --plan --target-free 40% -o json\n' +
        '  torghut clickhouse disk --confirm 0123456789ab-thx138',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const targetFreeRatio = targetRatio(options.targetFree);
      const home = resolveRunHome(options.home);
      const issuedSeconds = options.confirm === undefined ? undefined : issuedAt(options.confirm);
      let store: SignalStore | undefined;
      try {
        store = await openSignalStore({ home });
        const question = { database: store.database, isLocal: store.embedded, targetFreeRatio };
        const report = await reportDisk(store.client, { ...question, issuedSeconds });
        if (options.confirm === undefined) return show(report, options, format);
        requireFreshPlan(options.confirm, Date.parse(report.checked_at ?? '') / 1000);
        await runPurge({
          store,
          home,
          report,
          confirm: options.confirm,
          dryRun: options.plan || options.dryRun,
          format,
        });
        process.exitCode = (await reportDisk(store.client, question)).exit_code;
      } catch (error) {
        if (
          error instanceof TorghutError &&
          [exitCode.usage, exitCode.refused, exitCode.unexpected].some((code) => code === error.exitCode)
        ) {
          throw error;
        }
        show(unknownReport(store?.database ?? embeddedDatabase, describeError(error)), options, format);
      } finally {
        await store?.close();
      }
    });
}

function show(report: DiskReport, options: Options, format: OutputFormat): void {
  process.exitCode = report.exit_code;
  const onlyPlan = (options.plan || options.dryRun) && report.plan !== null;
  if (format === 'table') print(onlyPlan && report.plan ? renderPlan(report.plan) : renderDiskReport(report));
  else print(renderObject(onlyPlan ? { ...report.plan } : { ...report }, format));
}

async function runPurge(question: {
  store: SignalStore;
  home: string;
  report: DiskReport;
  confirm: string;
  dryRun: boolean;
  format: OutputFormat;
}): Promise<void> {
  const { store, report, confirm, dryRun, format } = question;
  const { plan } = report;
  if (!plan) return;
  const what = `purge ${automaticSteps(plan).length} objects`;
  process.stderr.write(`${renderPlan(plan)}\n`);
  if (!(await askConsent({ what, planId: plan.id, confirm, isDestructive: true, dryRun }))) return;
  const journal = openJournal(question.home, 'clickhouse-disk');
  const result = await purge(store.client, { database: store.database, plan, journal: journal.record });
  print(renderObject({ ...result, journal: journal.path, journal_unwritten: journal.unwritten }, format));
  if (result.is_verified) return;
  const failed = result.steps.filter(({ error }) => error !== null).map(({ what: step, error }) => `${step}: ${error}`);
  throw new TorghutError({
    code: 'purge_incomplete',
    what: 'not everything was freed as planned',
    why: [...failed, ...(result.canary === 'ok' ? [] : [`test row: ${result.canary}`])].join('; '),
    next: 'read the report again; on a full disk DROP TABLE … SYNC works where TRUNCATE does not',
  });
}
