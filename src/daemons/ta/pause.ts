/**
 * `torghut ta pause` and `ta resume` (spec ta R3, R4): plan, consent, one word into the control topic, then what the processes
 * show.
 * Guarantees: nothing changes without consent to the plan that was shown; the word outlives every process; "obeyed" is said
 * only when the process itself said so. Nothing is lost by a pause of any length within the retention of the topics, which the
 * plan names as it is now.
 */
import { z } from 'zod';
import { storeVariables } from '../../embedded/variables.ts';
import { openEventLog } from '../../lib/log/open.ts';
import type { EventLog } from '../../lib/log/port.ts';
import { askConsent } from '../../lib/runbook/confirm.ts';
import { type Check, planIdOf } from '../../lib/runbook/plan.ts';
import type { Report } from '../../lib/runbook/report.ts';
import { loadConfig } from '../../lib/service/config.ts';
import { exitCode } from '../../lib/service/errors.ts';
import { findService } from '../../lib/service/home.ts';
import { machineMs, sleep } from '../../lib/service/machine.ts';
import { sinkVariables } from '../sink/variables.ts';
import { controlTopicSpec, readControls, type TaControls, type TaPartName, taParts, writeControls } from './control.ts';
import { clockOfHome } from './home-clock.ts';
import { taVariables } from './variables.ts';

export type PauseAction = 'pause' | 'resume';

export interface PauseOptions {
  home: string;
  env?: NodeJS.ProcessEnv;
  /** One part alone; both without it. */
  only?: TaPartName | undefined;
  reason: string;
  actor: string;
  confirm?: string | undefined;
  yes: boolean;
  dryRun: boolean;
  /** Wait until the processes of this home show it. */
  wait: boolean;
  /** Machine ms that --wait waits. */
  timeoutMs: number;
  tell(line: string): void;
}

/** Names of the checks that --wait makes, as the runbook page lists them. */
export const pauseCheckIds = ['engine_obeys', 'sink_obeys'] as const;

const statusSchema = z.looseObject({
  control: z.looseObject({ paused: z.boolean() }).nullable(),
  phase: z.string().optional(),
  tasks: z.array(z.unknown()).optional(),
  is_paused: z.boolean().optional(),
});
type PartStatus = z.infer<typeof statusSchema>;

export async function changePause(
  action: PauseAction,
  options: PauseOptions,
): Promise<{ report: Report; exitCode: number }> {
  const { home, only } = options;
  const env = options.env ?? process.env;
  const config = loadConfig(taVariables, env, [...Object.keys(sinkVariables), ...Object.keys(storeVariables)]).values;
  const clock = clockOfHome(home, env);
  const log = await openEventLog({ home, env, clock });
  try {
    const topic = config.TA_CONTROL_TOPIC;
    await log.ensureTopics([controlTopicSpec(topic)]);
    const before = await readControls(log, topic);
    const isPause = action === 'pause';
    const parts = taParts.filter((part) => (only ?? part) === part && before[part].paused !== isPause);
    const inputs = [config.TA_TRADES_TOPIC, config.TA_QUOTES_TOPIC, config.TA_BARS1M_TOPIC];
    const outputs = [config.TA_MICROBARS_TOPIC, config.TA_SIGNALS_TOPIC];
    const kept = { engine: await keptFor(log, inputs), sink: await keptFor(log, outputs) };
    const effects = effectsOf(action, only === undefined ? [...taParts] : [only], kept);
    const paused = Object.fromEntries(taParts.map((part) => [part, before[part].paused]));
    const planId = planIdOf({ action: `ta_${action}`, topic, parts, paused });
    for (const part of parts) options.tell(`plan ${planId}: ${action} the ${part} of ta`);
    if (parts.length > 0) for (const line of [...effects.stops, ...effects.goes_on]) options.tell(`  ${line}`);
    const isAgreed =
      parts.length > 0 &&
      (await askConsent({ ...options, what: `${action} ${parts.join(' and ')}`, planId, isDestructive: false }));
    if (isAgreed) {
      const at = new Date(clock.nowMs()).toISOString();
      const { reason, actor } = options;
      const word = { paused: isPause, reason, actor, at };
      await writeControls(log, topic, Object.fromEntries(parts.map((part) => [part, word])), clock.nowMs());
      options.tell(`done ${planId}`);
    }
    const isSo = isAgreed || parts.length === 0;
    const wanted = taParts.filter((part) => (only ?? part) === part);
    const checks = isSo && options.wait && !options.dryRun ? await watch(home, wanted, isPause, options.timeoutMs) : [];
    const after = await readControls(log, topic);
    const report: Report = {
      action: `ta_${action}`,
      plan_id: planId,
      applied: isAgreed,
      ...statesOf(after),
      stops: effects.stops.join('; '),
      goes_on: effects.goes_on.join('; '),
      checks,
    };
    const isUnknown = checks.some((check) => check.verdict === 'unknown');
    const isWrong = checks.some((check) => check.verdict === 'problem');
    return { report, exitCode: isWrong ? exitCode.problemFound : isUnknown ? exitCode.cannotDetermine : exitCode.ok };
  } finally {
    await log.close();
  }
}

function statesOf(controls: TaControls): Record<string, string> {
  const text = ({ paused, actor, reason, at }: TaControls[TaPartName]) =>
    paused ? `paused by ${actor} at ${at}: ${reason}` : 'runs';
  return { engine: text(controls.engine), sink: text(controls.sink) };
}

/** How long the topics keep what a paused part does not read, as they say now. */
async function keptFor(log: EventLog, names: readonly string[]): Promise<string> {
  const described = (await log.describeTopics()).filter(({ name }) => names.includes(name));
  if (described.length === 0) return 'the topics are not there yet';
  const shortest = Math.min(
    ...described.map(({ retentionMs }) => (retentionMs === -1 ? Number.POSITIVE_INFINITY : retentionMs)),
  );
  return Number.isFinite(shortest) ? `kept for ${Math.round(shortest / 360_000) / 10} h` : 'kept for ever';
}

function effectsOf(
  action: PauseAction,
  parts: readonly TaPartName[],
  kept: Record<TaPartName, string>,
): { stops: string[]; goes_on: string[] } {
  const [engine, sink] = [parts.includes('engine'), parts.includes('sink')];
  if (action === 'resume') {
    return {
      stops: [],
      goes_on: [
        ...(engine ? ['bars and signals are computed from the last commit on; none is missing, none comes twice'] : []),
        ...(sink ? ['rows are stored from the last stored offset on'] : []),
      ],
    };
  }
  return {
    stops: [
      ...(engine ? ['stops: bars, signals, state and heartbeats; no task runs after its last commit'] : []),
      ...(sink ? ['stops: rows into ClickHouse, and migrations by the sink; trade gets no new signal'] : []),
    ],
    goes_on: [
      'goes on: ws writes trades, quotes and bars into the log',
      ...(engine ? [`goes on: the log holds what is not computed yet (${kept.engine})`] : []),
      ...(sink ? [`goes on: the ta topics hold what is not stored yet (${kept.sink})`] : []),
      ...(engine && !sink ? ['goes on: the sink stores what is computed already'] : []),
      ...(sink && !engine ? ['goes on: bars and signals are computed into the ta topics'] : []),
    ],
  };
}

async function statusOf(url: string): Promise<PartStatus | undefined> {
  try {
    const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(5_000) });
    return response.ok ? statusSchema.parse(await response.json()) : undefined;
  } catch {
    return undefined;
  }
}

/** Does the process do what it was told, not only know it? */
function obeys(part: TaPartName, status: PartStatus, isPause: boolean): boolean {
  if (status.control?.paused !== isPause) return false;
  if (part === 'sink') return status.is_paused === isPause;
  return isPause ? status.phase === 'paused' && status.tasks?.length === 0 : status.phase === 'running';
}

/** Asks the processes of this home until they obey. */
async function watch(
  home: string,
  parts: readonly TaPartName[],
  isPause: boolean,
  timeoutMs: number,
): Promise<Check[]> {
  const until = machineMs() + timeoutMs;
  const checks: Check[] = [];
  for (const part of parts) {
    let verdict: Check['verdict'] = 'unknown';
    let value = `no ${part} of this home is running; it obeys when it starts`;
    for (;;) {
      const url = findService(home, part === 'engine' ? 'ta' : 'sink')?.url;
      const status = url === undefined ? undefined : await statusOf(url);
      if (status) {
        const isObeyed = obeys(part, status, isPause);
        verdict = isObeyed ? 'ok' : 'problem';
        value = `${status.phase ?? (status.is_paused ? 'paused' : 'running')}, told to ${status.control?.paused ? 'pause' : 'run'}`;
        if (isObeyed) break;
      }
      if (machineMs() >= until) break;
      await sleep(100);
    }
    checks.push({
      id: part === 'engine' ? pauseCheckIds[0] : pauseCheckIds[1],
      signal: isPause ? `the ${part} says that it is paused and does nothing` : `the ${part} says that it runs`,
      value,
      verdict,
    });
  }
  return checks;
}
