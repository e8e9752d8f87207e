/** `torghut clickhouse replicas`: replicas and keeper of the signal store, what is wrong by name; --restore brings them back. */
import type { Command } from 'commander';
import { openStoreNodes, type StoreNodes } from '../embedded/nodes.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { openJournal } from '../lib/runbook/journal.ts';
import { renderReport } from '../lib/runbook/report.ts';
import { exitCode, TorghutError, usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { undetermined } from '../lib/signals/errors.ts';
import { parseKeeperAddresses } from '../lib/signals/replicas/keeper.ts';
import { exitCodeOf, type ReplicaFacts, readReplicas, reportReplicas } from '../lib/signals/replicas/report.ts';
import { keysOf, planRestore, runRestore } from '../lib/signals/replicas/restore.ts';
import { type OutputFormat, parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';
import { parseSeconds } from './seconds.ts';

interface Options {
  home?: string;
  keeper: string;
  restore: boolean;
  dryRun: boolean;
  confirm?: string;
  timeout: number;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--keeper <addresses>', 'host:port of keepers to ask besides those that the servers name', '')
    .option('--restore', 'restart or restore every replica that needs it, in order, and verify', false)
    .option('--dry-run', 'with --restore: print the plan only', false)
    .option('--confirm <plan-id>', 'with --restore: do it only if the plan still has this id')
    .option('--timeout <seconds>', 'with --restore: how long the replicas may take to be well again', parseSeconds, 300)
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nA node without replicated tables is n/a. A restore cannot be taken back; it is refused while a server or the keeper is\n' +
        'away, and where another server has the same table in good health. It is written to journal/clickhouse-replicas.ndjson.\n' +
        '\nExit codes: 0 ok or n/a, 10 a problem was found, 11 no server answers.\n' +
        '\nExamples:\n  torghut clickhouse replicas --keeper keeper-0:2181\n' +
        '  torghut clickhouse replicas --restore --dry-run -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const keepers = parseKeeperAddresses(options.keeper);
      if (!options.restore && (options.dryRun || options.confirm !== undefined)) {
        throw usageError({
          code: 'option_needs_restore',
          what: '--confirm and --dry-run are about a restore',
          next: 'add --restore, or leave them out to look only',
        });
      }
      const home = resolveRunHome(options.home);
      let store: StoreNodes | undefined;
      try {
        store = await openStoreNodes({ home });
        const facts = await readReplicas(store.nodes, keepers);
        if (options.restore) return await restore(store, facts, { ...options, home, keepers, format });
        const report = reportReplicas(facts);
        print(render(report, format));
        process.exitCode = exitCodeOf(report);
      } catch (error) {
        const isRefused = error instanceof TorghutError && error.exitCode === exitCode.refused;
        throw isRefused ? error : undetermined(error);
      } finally {
        await store?.close();
      }
    });
}

function render(report: ReturnType<typeof reportReplicas>, format: OutputFormat): string {
  return renderReport(report, format, ['keepers', 'replicas', 'findings']);
}

async function restore(
  store: StoreNodes,
  facts: ReplicaFacts,
  options: Options & { home: string; keepers: string[]; format: OutputFormat },
): Promise<void> {
  const { format } = options;
  // Who has the most keys is asked only of tables that the plan is about: reading them takes a while.
  const draft = planRestore(store.database, facts.nodes, facts.keepers, new Map());
  const { keys, digests } = await keysOf(store.nodes, draft.tables);
  const plan = planRestore(store.database, facts.nodes, facts.keepers, keys);
  const what = `run ${plan.steps.length} statements on ${new Set(plan.steps.map(({ replica }) => replica)).size} servers, for ${plan.tables.join(', ')}`;
  process.stderr.write(
    `plan ${plan.id}: ${what}\n${renderRows(
      plan.steps.map((step) => ({ ...step })),
      'table',
    )}\n`,
  );
  if (options.dryRun) process.stderr.write(`run it: torghut clickhouse replicas --restore --confirm ${plan.id}\n`);
  const consent = { ...options, what, planId: plan.id, isDestructive: true };
  if (!(await askConsent(consent))) {
    if (format !== 'table') print(renderObject({ ...plan, done: false }, format));
    return;
  }
  const journal = openJournal(options.home, 'clickhouse-replicas');
  const result = await runRestore(store.nodes, plan, {
    before: digests,
    journal: journal.record,
    limitMs: options.timeout * 1_000,
  });
  if (journal.unwritten > 0) process.stderr.write(`the journal ${journal.path} cannot be written\n`);
  if (!result.is_verified) process.exitCode = exitCode.problemFound;
  if (format !== 'table') return print(renderObject({ ...result }, format));
  const { steps, problems, ...rest } = result;
  print(
    `${renderObject(rest, format)}\n\n${renderRows(
      steps.map((step) => ({ ...step })),
      format,
    )}`,
  );
  if (problems.length > 0) print(`\nnot well yet:\n${problems.map((item) => `  ${item}`).join('\n')}`);
}
