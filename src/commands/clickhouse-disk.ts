/** `torghut clickhouse disk`: how full the store is, why, and what would free it; purges what nobody needs when confirmed. */
import type { Command } from 'commander';
import { DiskDesk, demandVerified } from '../daemons/store/disk.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { sleep } from '../lib/service/machine.ts';
import type { DiskReport } from '../lib/signals/disk/report.ts';
import { renderDiskReport, renderPlan } from '../lib/ui/disk-report.ts';
import { type OutputFormat, parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  targetFree: string;
  plan: boolean;
  dryRun: boolean;
  liveDays: boolean;
  confirm?: string;
  watch?: string;
  output: string;
}

/** `30` or `30%` as a ratio. @throws `target_invalid` (exit 2) */
function targetRatio(text: string): number {
  const value = Number(text.replace(/%$/, ''));
  if (text !== '' && value > 0 && value < 100) return value / 100;
  throw usageError({ code: 'target_invalid', what: `--target-free ${text} is no share`, next: 'give for example 30%' });
}

/** @throws `bad_option` (exit 2) */
function watchMs(options: Options): number | undefined {
  if (options.watch === undefined) return undefined;
  const seconds = Number(options.watch);
  if (seconds >= 1 && seconds <= 3_600 && options.confirm === undefined) return seconds * 1_000;
  throw usageError({
    code: 'bad_option',
    what: `--watch ${options.watch}${options.confirm === undefined ? '' : ' with --confirm'} is not valid`,
    next: 'give machine seconds from 1 to 3600, and confirm without --watch',
  });
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--target-free <percent>', 'share of each disk that the plan makes free', '30%')
    .option('--plan', 'print the plan with its statements only', false)
    .option('--dry-run', 'the same as --plan', false)
    .option('--live-days', 'plan the oldest days that are not expired too, never the newest three', false)
    .option('--confirm <plan-id>', 'run the steps of this plan, made within the last ten minutes')
    .option('--watch <seconds>', 'look again every so many machine seconds, until Ctrl-C')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\n--confirm runs the steps that no guard holds back, in the order of their classes; the others are printed with the\n' +
        'reason. Every purge is written to journal/clickhouse-disk.ndjson in the home.\n' +
        '\nExit codes: 0 ok, 10 warn, 11 critical, 12 emergency, 13 unknown.\n' +
        '\nExamples:\n  torghut clickhouse disk\n  torghut clickhouse disk --watch 10\n' +
        '  torghut clickhouse disk --plan --target-free 40% -o json\n' +
        '  torghut clickhouse disk --confirm 0123456789ab-thx138',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const everyMs = watchMs(options);
      const targetFreeRatio = targetRatio(options.targetFree);
      const home = resolveRunHome(options.home);
      const desk = await DiskDesk.open({ home, targetFreeRatio, liveDays: options.liveDays });
      try {
        if (options.confirm !== undefined) await confirmed(desk, options.confirm, options, format);
        else if (everyMs !== undefined) await watch(desk, everyMs, options, format);
        else show(await desk.report(), options, format);
      } finally {
        await desk.close();
      }
    });
}

function show(report: DiskReport, options: Options, format: OutputFormat): void {
  process.exitCode = report.exit_code;
  const onlyPlan = (options.plan || options.dryRun) && report.plan !== null;
  if (format === 'table') print(onlyPlan && report.plan ? renderPlan(report.plan) : renderDiskReport(report));
  else print(renderObject(onlyPlan ? { ...report.plan } : { ...report }, format));
}

async function watch(desk: DiskDesk, everyMs: number, options: Options, format: OutputFormat): Promise<void> {
  const ended = new AbortController();
  process.once('SIGINT', () => ended.abort());
  while (!ended.signal.aborted) {
    const report = await desk.report();
    // A person sees one page; a script gets one document after another.
    if (format === 'table' && process.stdout.isTTY) process.stdout.write('\x1b[H\x1b[2J');
    show(report, options, format);
    await sleep(everyMs, ended.signal);
  }
}

async function confirmed(desk: DiskDesk, planId: string, options: Options, format: OutputFormat): Promise<void> {
  const report = await desk.planToConfirm(planId);
  if (report.plan) process.stderr.write(`${renderPlan(report.plan)}\n`);
  const result = await desk.purge(report, planId, options.plan || options.dryRun);
  if (result) {
    print(renderObject({ ...result }, format));
    demandVerified(result);
  }
  process.exitCode = (await desk.report()).exit_code;
}
