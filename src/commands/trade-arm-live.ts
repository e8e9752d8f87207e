/** `torghut trade arm-live`: one person arms, another one confirms; both see every condition of the runbook go-live. */
import type { Command } from 'commander';
import { armLive, makeConfirmationKey } from '../daemons/trade/arm-live.ts';
import { actorName, openOperator } from '../daemons/trade/operator.ts';
import { parseTimestampNs } from '../lib/market/time.ts';
import { renderReport } from '../lib/runbook/report.ts';
import { goLiveCheckIds } from '../lib/runbook/trade-arm.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { nearestName } from '../lib/service/nearest.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';
import { tell } from './trade-control.ts';

interface Options {
  reason?: string;
  actor?: string;
  until?: string;
  key?: string;
  newKey?: string;
  disarm: boolean;
  attest: string[];
  changeRecord?: string;
  paperAccount: string;
  confirm?: string;
  dryRun: boolean;
  home?: string;
  account?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .description('Arm a live account until the close of the session, or confirm as a second person that it may trade')
    .option('--reason <text>', 'why; kept in the audit trail')
    .option('--actor <name>', 'who acts (default: the user of this machine)')
    .option('--until <time>', 'end of the arming (RFC 3339; default and latest: the close of the session)')
    .option('--key <file>', 'private key of the second person: confirms what the first one armed')
    .option('--new-key <file>', 'make a key pair for who confirms; prints the public half', undefined)
    .option('--disarm', 'end the arming and forget the confirmation', false)
    .option(
      '--attest <check>',
      'a condition that only you can know holds (may be repeated)',
      (id, before: string[]) => [...before, conditionOf(id)],
      [],
    )
    .option('--change-record <id>', 'number or address of the change record')
    .option('--paper-account <label>', 'account whose time on paper counts', 'paper')
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('--dry-run', 'print plan and conditions only', false)
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--account <label>', "account (default: the running loop's, else TRADING_ACCOUNT_LABEL)")
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nThe environment of the loop is the third source: TRADING_MODE, TRADING_SIMPLE_SUBMIT_ENABLED, TRADING_LIVE_SUBMIT_ENABLED.\n' +
        '\nExamples:\n  torghut trade arm-live --reason "first live session" --change-record CR-7 --dry-run\n' +
        '  torghut trade arm-live --reason "first live session" --change-record CR-7 --actor second.person --key second.pem --confirm <plan-id>',
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const format = parseOutputFormat(options.output);
  if (options.newKey !== undefined) {
    const publicKey = makeConfirmationKey(options.newKey);
    print(renderObject({ private_key_file: options.newKey, TRADING_LIVE_CONFIRMATION_KEY: publicKey }, format));
    return;
  }
  const { reason } = options;
  if (reason === undefined || reason.trim() === '') {
    throw usageError({ code: 'reason_missing', what: 'arm-live needs --reason', next: 'say why: it is kept' });
  }
  const untilMs = options.until === undefined ? undefined : timeOf(options.until);
  const actor = actorName(options.actor);
  const home = resolveRunHome(options.home);
  const operator = await openOperator({ home, account: options.account });
  try {
    const outcome = await armLive(operator, {
      home,
      env: process.env,
      reason,
      actor,
      confirm: options.confirm,
      dryRun: options.dryRun,
      untilMs,
      keyFile: options.key,
      disarm: options.disarm,
      attested: options.attest,
      changeRecord: options.changeRecord,
      paperAccount: options.paperAccount,
      tell,
    });
    print(renderReport(outcome.report, format));
    process.exitCode = outcome.exitCode;
  } finally {
    await operator.close();
  }
}

/** One of the conditions that nobody but a person can see. */
function conditionOf(id: string): string {
  if ((goLiveCheckIds as readonly string[]).includes(id)) return id;
  throw usageError({
    code: 'bad_option',
    what: `--attest ${id} is no condition`,
    why: `the nearest one is ${nearestName(id, goLiveCheckIds) ?? 'slo_met'}`,
    next: `one of ${goLiveCheckIds.join(', ')}`,
  });
}

function timeOf(text: string): number {
  const ns = parseTimestampNs(text);
  if (ns !== undefined) return Number(ns / 1_000_000n);
  throw usageError({
    code: 'bad_option',
    what: `--until ${text} is no time`,
    next: 'write it as 2026-03-10T19:00:00Z',
  });
}
