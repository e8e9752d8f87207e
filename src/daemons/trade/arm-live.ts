/**
 * `torghut trade arm-live` (spec 3.4, 10.6): the second and the third source of live trading. One person arms (control row in
 * the ledger, with reason and end), another one confirms (a file signed with a key of their own); the first source is the
 * environment of the loop, which no command changes.
 * Guarantees: nothing changes before every condition holds and the very plan was agreed to; each step leaves an audit event.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { toJsonb } from '../../lib/ledger/jsonb.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import type { Report } from '../../lib/runbook/report.ts';
import {
  type ArmPlan,
  armedUntil,
  demandReady,
  type GoLiveFacts,
  goLiveChecks,
  planArming,
} from '../../lib/runbook/trade-arm.ts';
import { codeOf, exitCode, refusedError, usageError } from '../../lib/service/errors.ts';
import { brokerHours } from '../../lib/trading/broker-view.ts';
import { newKeyPair, readPrivateKey, signStatement } from '../../lib/trading/live-confirmation.ts';
import { confirmationPath } from './live.ts';
import type { Outcome } from './operate.ts';
import type { Operator } from './operator.ts';

export interface ArmOptions {
  home: string;
  env: NodeJS.ProcessEnv;
  reason: string;
  actor: string;
  confirm: string | undefined;
  dryRun: boolean;
  /** Market ms; default the close of the running or next session. */
  untilMs: number | undefined;
  /** File of the private key: this is the confirmation of the second person. */
  keyFile: string | undefined;
  disarm: boolean;
  attested: readonly string[];
  changeRecord: string | undefined;
  /** Account whose time on paper counts. */
  paperAccount: string;
  tell(line: string): void;
}

type ArmOperator = Pick<Operator, 'accountLabel' | 'clock' | 'config' | 'control' | 'ledger' | 'broker'>;

export async function armLive(operator: ArmOperator, options: ArmOptions): Promise<Outcome> {
  const { accountLabel, clock, config, control, ledger } = operator;
  const before = await ledger.read.account.controls(accountLabel);
  const standing = before.liveArmedUntilMs !== undefined && before.liveArmedUntilMs > clock.nowMs();
  const arming = standing ? await control.lastArming(accountLabel) : undefined;
  const step: ArmPlan['step'] = options.disarm ? 'disarm' : options.keyFile === undefined ? 'arm' : 'confirm';
  if (step === 'confirm' && !arming) throw notArmed(accountLabel);
  const accountId = config.TRADING_ACCOUNT_ID ?? '';
  const checks = step === 'disarm' ? [] : goLiveChecks(await gather(operator, options, step, arming?.actor));
  const untilMs =
    step === 'confirm'
      ? (before.liveArmedUntilMs ?? 0)
      : step === 'arm'
        ? armedUntil(options.untilMs, await sessionClose(operator), clock.nowMs())
        : clock.nowMs();
  const { actor } = options;
  const plan = planArming({
    step,
    accountLabel,
    accountId,
    actor,
    armedBy: arming?.actor,
    untilMs: step === 'disarm' ? 0 : untilMs,
  });
  for (const line of plan.steps) options.tell(`plan ${plan.id}: ${line}`);
  if (!options.dryRun) demandReady(checks);
  const isAgreed = await askConsent({
    what: plan.steps.join('; '),
    planId: plan.id,
    confirm: options.confirm,
    // To shut the account again needs nothing but the word.
    yes: step === 'disarm',
    dryRun: options.dryRun,
    isDestructive: step !== 'disarm',
  });
  if (isAgreed) await apply(operator, options, plan, { accountId, armedBy: arming?.actor, before });
  const after = await ledger.read.account.controls(accountLabel);
  const report: Report = {
    action: `live_${step}`,
    account_label: accountLabel,
    account_id: accountId,
    plan_id: plan.id,
    applied: isAgreed,
    armed_until: after.liveArmedUntilMs === undefined ? null : new Date(after.liveArmedUntilMs).toISOString(),
    armed_by: step === 'arm' && isAgreed ? actor : (arming?.actor ?? null),
    confirmation: step === 'confirm' ? confirmationPath(options.home, config) : null,
    next:
      step === 'arm'
        ? 'another person confirms with --key; then the flags of the environment, the kill switch last'
        : 'first orders with minimum size',
    checks,
  };
  return { report, exitCode: checks.every(({ verdict }) => verdict === 'ok') ? exitCode.ok : exitCode.problemFound };
}

async function apply(
  operator: ArmOperator,
  options: ArmOptions,
  plan: ArmPlan,
  about: {
    accountId: string;
    armedBy: string | undefined;
    before: Awaited<ReturnType<ArmOperator['ledger']['read']['account']['controls']>>;
  },
): Promise<void> {
  const { accountLabel, clock, config, control } = operator;
  const { reason, actor } = options;
  const why = { reason, actor, atMs: clock.nowMs() };
  const path = confirmationPath(options.home, config);
  if (plan.step === 'disarm') {
    await control.changeControls(accountLabel, { liveArmedUntilMs: null }, why);
    rmSync(path, { force: true });
  } else if (plan.step === 'arm') {
    // A confirmation of an earlier arming must not meet this one.
    rmSync(path, { force: true });
    await control.changeControls(accountLabel, { liveArmedUntilMs: plan.untilMs }, why, about.before);
  } else {
    const statement = {
      account_label: accountLabel,
      account_id: about.accountId,
      armed_until: new Date(plan.untilMs).toISOString(),
      armed_by: about.armedBy ?? '',
      confirmed_by: actor,
      reason,
    };
    const confirmation = signStatement(statement, readPrivateKey(readKeyFile(options.keyFile ?? '')));
    writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(confirmation)}\n`, { mode: 0o600 });
    renameSync(`${path}.${process.pid}`, path);
  }
  const after = toJsonb({
    accountLabel,
    planId: plan.id,
    untilMs: plan.untilMs,
    attested: options.attested,
    changeRecord: options.changeRecord ?? null,
  });
  await control.audit({ ...why, action: `live_${plan.step}`, after });
}

function readKeyFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw usageError({
      code: 'confirmation_key_unreadable',
      what: `the key file ${path} cannot be read`,
      why: codeOf(error) ?? 'unknown',
      next: 'name the private key of the person who confirms',
    });
  }
}

/** Market ms of the close of the running session, else of the next one. */
async function sessionClose(operator: ArmOperator): Promise<number> {
  return (await brokerHours(operator.broker()).session()).nextCloseMs;
}

async function gather(
  operator: ArmOperator,
  options: ArmOptions,
  step: ArmPlan['step'],
  armedBy: string | undefined,
): Promise<GoLiveFacts> {
  const { accountLabel, clock, config, control, ledger } = operator;
  const [paper, counts, findings, drill, strategies, account] = await Promise.all([
    control.paperRecord(options.paperAccount),
    ledger.orderRead.openCounts(accountLabel),
    ledger.orderRead.findings.open(accountLabel),
    control.lastStopDrill(accountLabel),
    ledger.read.strategies.all(),
    operator
      .broker()
      .account()
      .catch(() => undefined),
  ]);
  const isOn = (name: string) => /^(1|true|yes|on)$/i.test(options.env[name] ?? '');
  return {
    mode: config.TRADING_MODE,
    paper: paper.sessions === 0 ? undefined : paper,
    unresolvedClaims: counts.unknownClaims,
    driftSymbols: findings.filter(({ kind }) => kind === 'position_drift').map(({ subject }) => subject),
    nowMs: clock.nowMs(),
    drill,
    strategies: strategies
      .filter(({ enabled }) => enabled)
      .map(({ name, maxPositionPctEquity }) => ({ name, maxPositionPct: maxPositionPctEquity?.toNumber() })),
    hasNotionalCap: config.TRADING_MAX_NOTIONAL_PER_TRADE !== undefined,
    allowShorts: config.TRADING_ALLOW_SHORTS,
    isReviewerHarmless: !isOn('LLM_ENABLED') || isOn('LLM_SHADOW_MODE'),
    brokerHost: new URL(config.APCA_API_BASE_URL).hostname,
    pinnedAccount: config.TRADING_ACCOUNT_ID,
    accountIds: account && [account.id, ...(account.accountNumber === undefined ? [] : [account.accountNumber])],
    changeRecord: options.changeRecord,
    attested: options.attested,
    actor: options.actor,
    armedBy: step === 'confirm' ? armedBy : undefined,
  };
}

function notArmed(accountLabel: string) {
  return refusedError({
    code: 'live_not_armed',
    what: `${accountLabel} is not armed: there is nothing to confirm`,
    why: 'nobody armed it, or the arming is over',
    next: 'one person arms first (without --key), another one confirms',
  });
}

/** Makes a key for who confirms. @returns the value of TRADING_LIVE_CONFIRMATION_KEY @throws `key_file_exists` (exit 4) */
export function makeConfirmationKey(path: string): string {
  const { privatePem, publicText } = newKeyPair();
  try {
    writeFileSync(path, privatePem, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw refusedError({
      code: 'key_file_exists',
      what: `no key was written to ${path}`,
      why: codeOf(error) === 'EEXIST' ? 'the file is there already' : (codeOf(error) ?? 'it cannot be written'),
      next: 'name another file, on a machine of the person who confirms',
    });
  }
  return publicText;
}
