/** `torghut db migrate`: brings the ledger's schema to this version; shows the plan first. */
import type { Command } from 'commander';
import { openLedger } from '../embedded/connect.ts';
import { expectedVersion, migrate, planMigration } from '../lib/ledger/migrator.ts';
import { askConsent } from '../lib/runbook/confirm.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  confirm?: string;
  yes: boolean;
  dryRun: boolean;
  output: string;
}

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--dry-run', 'print the plan only', false)
    .option('--yes', 'do not ask: migrations only add', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut db migrate --dry-run\n  DB_DSN=postgres://… torghut db migrate --yes -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const ledger = await openLedger({ home: resolveRunHome(options.home) });
      try {
        const plan = await planMigration(ledger.dsn);
        const pending = plan.pending.map((step) => step.name);
        const what = `apply ${pending.join(', ')}`;
        if (pending.length > 0) process.stderr.write(`plan ${plan.id}: ${what}\n`);
        const consent = { what, planId: plan.id, isDestructive: false, ...options };
        const applied = pending.length > 0 && (await askConsent(consent)) ? await migrate(ledger.dsn) : [];
        const left = pending.filter((name) => !applied.includes(name));
        const known = plan.steps.filter((step) => step.isApplied || applied.includes(step.name));
        const version = known.at(-1)?.name ?? null;
        const result = { plan_id: plan.id, version, expected_version: expectedVersion, applied, pending: left };
        print(renderObject(result, format));
      } finally {
        await ledger.close();
      }
    });
}
