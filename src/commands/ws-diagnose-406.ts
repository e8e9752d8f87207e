/** `torghut ws diagnose-406`: why the provider refuses ws (406, 401/402) or readiness stays at 503; names one case of the runbook. */
import type { Command } from 'commander';
import { diagnose } from '../daemons/ws/diagnosis/diagnose.ts';
import { renderDiagnosis } from '../daemons/ws/diagnosis/report.ts';
import { systemClock } from '../lib/service/clock.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';
import { parseSeconds } from './seconds.ts';
import { clusterOf, type PlaceOptions, placeOptions } from './ws-place.ts';

interface Options extends PlaceOptions {
  probe: boolean;
  gitops?: string;
  apply: boolean;
  settle: number;
  dryRun: boolean;
  yes: boolean;
  confirm?: string;
  output: string;
}

export function configure(command: Command): void {
  placeOptions(command)
    .option('--probe', 'let ws also authenticate once on the test stream (another endpoint than the feed)', false)
    .option('--gitops <dir>', 'make the change in the manifests of this folder (show the lines that change)')
    .option('--apply', 'make the change in the cluster instead; the next sync may revert it', false)
    .option('--settle <seconds>', 'with --apply: machine seconds without any pod in a restart', parseSeconds, 60)
    .option('--dry-run', 'print the plan only', false)
    .option('--yes', 'do not ask', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nReads only, unless --gitops or --apply is given; at most one restart in 15 minutes.\n' +
        '\nExit codes: 0 nothing is wrong (or the change is made), 10 connection limit (cases A, B, C), 11 credentials (D, E),\n' +
        '12 limits of the plan (F), 13 Kafka refuses (G), 14 Kafka is away (H), 15 the log takes nothing (H), 16 silence (I),\n' +
        '17 no symbols, 18 restarts (J), 20 undetermined, 2 no ws, 3 no cluster, 4 refused.\n' +
        '\nExamples:\n  torghut ws diagnose-406 --probe\n  torghut ws diagnose-406 --cluster --gitops ./manifests --dry-run -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      if (options.apply && options.gitops !== undefined) {
        throw usageError({
          code: 'bad_place',
          what: '--apply and --gitops exclude each other',
          next: 'give --gitops for the manifests, or --apply for the cluster',
        });
      }
      if ((options.apply || options.gitops !== undefined) && !options.cluster) {
        throw usageError({
          code: 'bad_place',
          what: `${options.apply ? '--apply' : '--gitops'} changes the ws of a cluster`,
          why: 'a ws of this machine is changed by nobody but its owner',
          next: 'add --cluster, or read the diagnosis without it',
        });
      }
      const stop = new AbortController();
      process.once('SIGINT', () => stop.abort());
      process.exitCode = await diagnose({
        ...clusterOf(options),
        home: resolveRunHome(options.home),
        url: options.url,
        env: process.env,
        isProbe: options.probe,
        clock: systemClock(),
        gitops: options.gitops,
        apply: options.apply,
        yes: options.yes,
        dryRun: options.dryRun,
        confirm: options.confirm,
        settleMs: options.settle * 1_000,
        signal: stop.signal,
        tell: (line) => void process.stderr.write(`${line}\n`),
        show: (report) => print(renderDiagnosis(report, format)),
      });
    });
}
