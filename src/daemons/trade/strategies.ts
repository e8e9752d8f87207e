/**
 * What the commands of `torghut strategy` do with ledger and catalog file (spec trading 2.2, 10.7).
 * Guarantees: the file is the truth and the only thing that is written, whole or not at all; the audit event is there before
 * the loop can see the new file, so the version that it makes carries reason and actor; nothing is written that the loop
 * would refuse.
 */
import { createHash } from 'node:crypto';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { rollbackAction } from '../../lib/ledger/catalogs.ts';
import { toJsonb } from '../../lib/ledger/jsonb.ts';
import type { OrderLedger } from '../../lib/ledger/open.ts';
import { profitOver } from '../../lib/ledger/profit.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import type { Report } from '../../lib/runbook/report.ts';
import { planRollback, type RollbackFacts, rollbackChecks } from '../../lib/runbook/strategy-rollback.ts';
import { codeOf, exitCode, refusedError, usageError } from '../../lib/service/errors.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { parseCatalog } from '../../lib/strategy/catalog.ts';
import { catalogDifferences, type StrategySummary, strategySummary } from '../../lib/strategy/compare.ts';
import { withDisabled } from '../../lib/strategy/edit.ts';
import type { StrategyRegistry } from '../../lib/strategy/registry.ts';
import { describeMistakes } from '../../lib/strategy/reload.ts';
import { checkCatalogFile } from '../../lib/trading/catalog-file.ts';
import { loadStrategies } from '../../lib/trading/strategy-plugins.ts';
import type { ChangeOptions, Outcome } from './operate.ts';
import type { Operator } from './operator.ts';

const summarySchema: z.ZodType<readonly StrategySummary[]> = z.array(
  z.object({
    name: z.string(), strategy_id: z.string(), type: z.string(), version: z.string().nullable(), description: z.string(),
    enabled: z.boolean(), priority: z.number(), base_timeframe: z.string(), universe_type: z.string(),
    symbols: z.array(z.string()), max_notional_per_trade: z.string().nullable(),
    max_position_pct_equity: z.string().nullable(), params: z.unknown(),
  }),
); // biome-ignore format: one object

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The strategies that this environment can name, with its plug-ins. */
export async function registryOfEnvironment(env: NodeJS.ProcessEnv = process.env): Promise<StrategyRegistry> {
  const { registry, failures } = await loadStrategies(env.TRADING_STRATEGY_PLUGIN_PATH || undefined);
  for (const { file, why } of failures) process.stderr.write(`torghut: the plug-in ${file} was not loaded: ${why}\n`);
  return registry;
}

/** A side of a comparison: a file, a version of the ledger, or `now`, what is in force. */
export async function catalogSide(
  text: string,
  ledger: () => Promise<OrderLedger>,
): Promise<{ name: string; strategies: readonly StrategySummary[] }> {
  if (text === 'now' || /^\d+$/.test(text)) {
    const { read } = await ledger();
    const found = text === 'now' ? (await read.strategies.versions(1))[0] : await read.strategies.version(Number(text));
    if (!found) throw noVersion(text);
    return { name: `version ${found.version}`, strategies: summarySchema.parse(found.strategies) };
  }
  const check = await checkCatalogFile(text, await registryOfEnvironment());
  if (check.ok) return { name: text, strategies: check.catalog.entries.map(strategySummary) };
  throw usageError({
    code: 'strategy_catalog_invalid',
    what: `${text} has mistakes`,
    why: describeMistakes(check.mistakes),
    next: `correct them; \`torghut strategy validate ${text}\` lists them`,
  });
}

function noVersion(text: string) {
  return usageError({
    code: 'strategy_version_unknown',
    what: text === 'now' ? 'the ledger has no catalog yet' : `the ledger has no version ${text} of the catalog`,
    why: 'versions are written when a loop takes a catalog over',
    next: 'see `torghut strategy history`',
  });
}

export interface RollbackOptions extends Omit<ChangeOptions, 'cancelOpen' | 'flatten'> {
  /** Version to bring back; undefined with `disable`. */
  to: number | undefined;
  /** Strategy to switch off; undefined with `to`. */
  disable: string | undefined;
  /** Catalog file of the loop; undefined: TRADING_STRATEGY_CONFIG_PATH. */
  file: string | undefined;
}

export async function rollbackStrategies(operator: Operator, options: RollbackOptions): Promise<Outcome> {
  const { accountLabel, ledger, clock, control } = operator;
  const path = catalogPath(operator, options.file);
  const now = await readFile(path, 'utf8').catch(() => undefined);
  const target = await targetOf(operator, options, now);
  const registry = await registryOfEnvironment();
  const parsed = parseCatalog(target.text, registry);
  if (!parsed.ok) {
    throw refusedError({
      code: 'strategy_rollback_refused',
      what: 'the loop would not take this catalog over',
      why: describeMistakes(parsed.mistakes),
      next: 'name another version, or load the plug-ins that it needs (TRADING_STRATEGY_PLUGIN_PATH)',
    });
  }
  const [inForce] = await ledger.read.strategies.versions(1);
  const before = inForce ? summarySchema.parse(inForce.strategies) : [];
  const nowMs = clock.nowMs();
  const held = profitOver(await ledger.profit.fillsBefore(accountLabel, nowMs + 1), nowMs, nowMs + 1);
  const facts: RollbackFacts = {
    path,
    fileDigest: now === undefined ? null : digestOf(now),
    inForce: inForce && { version: inForce.version, digest: inForce.digest },
    target: { digest: digestOf(target.text), version: target.version },
    differences: catalogDifferences(before, parsed.catalog.entries.map(strategySummary)),
    positions: held.flatMap(({ strategy, symbol, quantity }) =>
      strategy === null || quantity.isZero() ? [] : [{ strategy, symbol, qty: quantity.toFixed() }],
    ),
  };
  const plan = planRollback(facts);
  for (const step of plan.steps) options.tell(`plan ${plan.id}: ${step}`);
  const isAgreed =
    plan.steps.length > 0 &&
    (await askConsent({
      what: plan.steps[0] ?? '',
      planId: plan.id,
      confirm: options.confirm[0],
      yes: options.yes,
      dryRun: options.dryRun,
      isDestructive: plan.needsConfirm,
    }));
  if (isAgreed) {
    const { reason, actor } = options;
    const after = toJsonb({ accountLabel, digest: facts.target.digest, version: target.version ?? null, path });
    await replaceFile(path, target.text, () =>
      control.audit({ action: rollbackAction, reason, actor, atMs: clock.nowMs(), after }),
    );
    options.tell(`done ${plan.id}: ${path} by ${actor}`);
  }
  const isSo = isAgreed || (plan.steps.length === 0 && !options.dryRun);
  const checks = isSo && options.wait ? await verify(operator, facts, plan.left, options.timeoutMs) : [];
  const report: Report = {
    action: 'strategy_rollback',
    account_label: accountLabel,
    plan_id: plan.id,
    applied: isAgreed,
    file: path,
    from_version: inForce?.version ?? null,
    to_version: target.version ?? null,
    digest: facts.target.digest,
    differences: facts.differences.map((difference) => ({ ...difference })),
    positions: plan.left.map((position) => ({ ...position })),
    checks,
  };
  const isProblem = checks.some(({ verdict }) => verdict === 'problem');
  const isUnknown = checks.some(({ verdict }) => verdict === 'unknown');
  return { report, exitCode: isProblem ? exitCode.problemFound : isUnknown ? exitCode.cannotDetermine : exitCode.ok };
}

function catalogPath(operator: Operator, file: string | undefined): string {
  const path = file ?? operator.config.TRADING_STRATEGY_CONFIG_PATH;
  if (path !== undefined) return resolve(path);
  throw usageError({
    code: 'strategy_catalog_unnamed',
    what: 'which file holds the catalog of the loop?',
    why: 'neither --file nor TRADING_STRATEGY_CONFIG_PATH names it',
    next: 'give --file with the path that the loop reads',
  });
}

async function targetOf(
  operator: Operator,
  options: RollbackOptions,
  now: string | undefined,
): Promise<{ text: string; version: number | undefined }> {
  const { to, disable } = options;
  if ((to === undefined) === (disable === undefined)) {
    throw usageError({
      code: 'strategy_rollback_unclear',
      what: 'give either --to with a version or --disable with the name of a strategy',
      next: 'see `torghut strategy history` and `torghut strategy list`',
    });
  }
  if (to !== undefined) {
    const version = await operator.ledger.read.strategies.version(to);
    if (!version) throw noVersion(String(to));
    return { text: version.content, version: to };
  }
  const name = disable ?? '';
  const text = now === undefined ? undefined : withDisabled(now, name);
  if (text !== undefined) return { text, version: undefined };
  throw usageError({
    code: 'strategy_unknown',
    what: `the catalog file names no strategy ${name}, or cannot be read`,
    next: 'see `torghut strategy list`, or bring a whole version back with --to',
  });
}

/** Whole or not at all, beside the file, so that a reader sees the old or the new one. */
async function replaceFile(path: string, text: string, before: () => Promise<void>): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    const mode = (await stat(path).catch(() => undefined))?.mode;
    await writeFile(beside, text, mode === undefined ? {} : { mode });
    await before();
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    const code = codeOf(error);
    if (code === undefined || !/^E(ACCES|PERM|ROFS|BUSY|NOENT|XDEV)$/.test(code)) throw error;
    throw refusedError({
      code: 'strategy_catalog_readonly',
      what: `cannot write ${path}`,
      why: code === 'EROFS' ? 'it lies on a read-only file system, as a ConfigMap does' : `the system says ${code}`,
      next: 'change it where it comes from: `torghut strategy history --version N --text` prints the text to put there',
      cause: error,
    });
  }
}

/** Until the loop has the catalog in force. It looks at the file every TRADING_STRATEGY_RELOAD_SECONDS. */
async function verify(operator: Operator, facts: RollbackFacts, left: RollbackFacts['positions'], timeoutMs: number) {
  const wanted = facts.target.digest;
  if (operator.daemonUrl === undefined) return rollbackChecks({ wanted, seen: undefined, left });
  const until = machineMs() + timeoutMs;
  for (;;) {
    const status = await operator.readStatus();
    const seen = z.looseObject({ digest: z.string().nullable() }).safeParse(status.strategies).data?.digest ?? null;
    if (seen === wanted || machineMs() >= until) return rollbackChecks({ wanted, seen, left });
    await sleep(200);
  }
}
