/** What pause, stop and resume have in common as commands: options, opening the account, showing the report. */
import type { Command } from 'commander';
import { changeControls } from '../daemons/trade/operate.ts';
import { actorName, openOperator } from '../daemons/trade/operator.ts';
import { renderReport } from '../lib/runbook/report.ts';
import type { ControlAction } from '../lib/runbook/trade-controls.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';
import { parseSeconds } from './seconds.ts';

export interface ChangeCommandOptions {
  home?: string;
  account?: string;
  url?: string;
  reason: string;
  actor?: string;
  confirm: string[];
  yes?: boolean;
  dryRun: boolean;
  timeout: number;
  output: string;
}

/** Options of every command that changes something about an account. */
export function changeOptions(command: Command): Command {
  return command
    .requiredOption('--reason <text>', 'why; kept in the audit trail')
    .option('--actor <name>', 'who acts (default: the user of this machine)')
    .option('--dry-run', 'print the plan only', false)
    .option(
      '--confirm <plan-id>',
      'do it only if the plan still has this id',
      (id, before: string[]) => [...before, id],
      [],
    )
    .option('--timeout <seconds>', 'how long to wait for the loop or the broker', parseSeconds, 60)
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--account <label>', "account (default: the running loop's, else TRADING_ACCOUNT_LABEL)")
    .option('--url <url>', 'address of the daemon, when it is not one of this home')
    .option('-o, --output <format>', 'table, json or yaml', 'table');
}

/** Writes for the person who decides; results go to stdout. */
export const tell = (line: string): void => void process.stderr.write(`${line}\n`);

export async function runControl(
  action: ControlAction,
  options: ChangeCommandOptions & { wait: boolean; cancelOpen?: boolean; flatten?: boolean },
): Promise<void> {
  const format = parseOutputFormat(options.output);
  const { home, ...about } = { ...options, home: resolveRunHome(options.home), actor: actorName(options.actor) };
  const operator = await openOperator({ home, account: options.account, url: options.url });
  try {
    const outcome = await changeControls(action, operator, {
      ...about,
      yes: options.yes ?? false,
      cancelOpen: options.cancelOpen ?? false,
      flatten: options.flatten ?? false,
      timeoutMs: options.timeout * 1_000,
      tell,
    });
    print(renderReport(outcome.report, format));
    process.exitCode = outcome.exitCode;
  } finally {
    await operator.close();
  }
}
