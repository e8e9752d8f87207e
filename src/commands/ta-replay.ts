/** `torghut ta replay`: compute a window once more beside the live run, or end the live run and begin it anew. */
import { Argument, type Command, Option } from 'commander';
import { openReplayContext } from '../daemons/ta/replay/context.ts';
import {
  discard, promote, type ReplayConsent, type ReplayOutcome, replayStatus, rollBack, runReplay, showPlan,
} from '../daemons/ta/replay/operate.ts'; // biome-ignore format: one list
import { type ReplayMethod, replayMethods } from '../daemons/ta/replay/record.ts';
import { actorName } from '../daemons/trade/operator.ts';
import { parseMarketTime } from '../lib/market/calendar.ts';
import { NS_PER_MS } from '../lib/service/clock.ts';
import { usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { type OutputFormat, parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';

const actions = ['plan', 'run', 'promote', 'rollback', 'discard', 'status'] as const;
type Action = (typeof actions)[number];

interface Options {
  replayId?: string;
  method: ReplayMethod;
  from?: string;
  to?: string;
  symbols?: string;
  keepApart: boolean;
  duringSession: boolean;
  requiredTradingDays: string;
  reason?: string;
  actor?: string;
  confirm?: string;
  yes: boolean;
  dryRun: boolean;
  home?: string;
  output: string;
}

export function configure(command: Command): void {
  command
    .description(
      'Replay ta: plan first; beside the live run (m2, m5) or instead of it (m1t, m3); promote, roll back, discard',
    )
    .addArgument(new Argument('[action]', 'what to do').choices(actions).default('plan'))
    .option('--replay-id <id>', 'name of the replay, used once: letters, digits, dashes')
    .addOption(
      new Option(
        '--method <name>',
        'm2 beside the live run, m5 the same with input from the provider, m1t from a time and m3 from the beginning instead of it',
      )
        .choices(replayMethods)
        .default('m2'),
    )
    .option('--from <time>', 'windows that end after this market time (RFC 3339; default: the first record of the log)')
    .option('--to <time>', 'windows that end at or before this (default: all that can no longer change)')
    .option('--symbols <list>', 'symbols that m5 fetches, with commas (default: SYMBOLS)')
    .option('--keep-apart', 'never promoted: may be older than the TTL of the store', false)
    .option('--during-session', 'm1t and m3 although the market is open', false)
    .option(
      '--required-trading-days <n>',
      'sessions that the live store must cover to count as ready to be exported',
      '1',
    )
    .option('--reason <text>', 'why; kept in the journal (needed by everything but plan and status)')
    .option('--actor <name>', 'who acts (default: the user of this machine)')
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('--yes', 'do not ask, where everything can be taken back', false)
    .option('--dry-run', 'print the plan only', false)
    .option(
      '--home <dir>',
      'home of the run (default: the newest); KAFKA_BOOTSTRAP, TA_CLICKHOUSE_URL mean clusters instead',
    )
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nA replay that was interrupted is gone on with by `run` and its id; nothing else needs to be given again.\n' +
        '\nExit codes: 0 done, or the plan is admitted; 4 refused; 10 the plan is blocked, or a swap would be; 130 interrupted.\n' +
        '\nExamples:\n' +
        '  torghut ta replay --replay-id inc-7 --from 2013-10-08T13:30:00Z --to 2013-10-08T14:30:00Z\n' +
        '  torghut ta replay run --replay-id inc-7 --from 2013-10-08T13:30:00Z --to 2013-10-08T14:30:00Z \\\n' +
        '    --reason "bars of the outage" --confirm 0123456789ab\n' +
        '  torghut ta replay promote --replay-id inc-7 --reason "bars of the outage" --yes -o json',
    )
    .action(async (action: Action, options: Options) => {
      const format = parseOutputFormat(options.output);
      const home = resolveRunHome(options.home);
      if (action === 'status') {
        const rows = replayStatus(home, options.replayId);
        print(renderRows(rows, format));
        return;
      }
      const outcome = await act(action, home, options);
      print(render(outcome.object, format));
      process.exitCode = outcome.exitCode;
    });
}

async function act(action: Exclude<Action, 'status'>, home: string, options: Options): Promise<ReplayOutcome> {
  const id = options.replayId;
  if (id === undefined) {
    throw usageError({
      code: 'replay_id_missing',
      what: 'the replay has no name',
      next: 'give --replay-id, for example inc-7',
    });
  }
  const consent = consentOf(action, options);
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, onSignal);
  const tell = (line: string) => void process.stderr.write(`${line}\n`);
  const context = await openReplayContext({ home, signal: stop.signal, tell });
  try {
    const ms = (text: string | undefined) =>
      text === undefined ? undefined : Number(parseMarketTime(text, undefined) / NS_PER_MS);
    const question = {
      id,
      method: options.method,
      fromMs: ms(options.from),
      toMs: ms(options.to),
      isKeptApart: options.keepApart,
      duringSession: options.duringSession,
      requiredDays: requiredDays(options.requiredTradingDays),
      symbols: (options.symbols ?? '').split(',').filter((symbol) => symbol !== ''),
    };
    if (action === 'plan') return await showPlan(context, question);
    if (action === 'run') return await runReplay(context, question, consent);
    if (action === 'promote') return await promote(context, id, consent);
    if (action === 'rollback') return await rollBack(context, id, consent);
    return await discard(context, id, consent);
  } finally {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal);
    await context.close();
  }
}

function requiredDays(text: string): number {
  const days = Number(text);
  if (Number.isInteger(days) && days >= 1 && days <= 400) return days;
  throw usageError({
    code: 'bad_option',
    what: `--required-trading-days ${text} is not valid`,
    next: 'give a whole number from 1 to 400',
  });
}

function consentOf(action: Action, { reason, actor, confirm, yes, dryRun }: Options): ReplayConsent {
  if (reason === undefined && action !== 'plan' && !dryRun) {
    throw usageError({
      code: 'reason_missing',
      what: `${action} needs a reason`,
      next: 'give --reason "…"; it is kept',
    });
  }
  return { confirm, yes, dryRun, reason: reason ?? '', actor: actorName(actor) };
}

/** Scripts get the object as it is; people its lists as tables under the rest. */
function render(object: Record<string, unknown>, format: OutputFormat): string {
  if (format !== 'table') return renderObject(object, format);
  const isTable = (value: unknown): value is Record<string, unknown>[] =>
    Array.isArray(value) && value.length > 0 && typeof value[0] === 'object';
  const { replay_feasibility: feasibility, facts, ...rest } = object;
  const flat: Record<string, unknown> = {
    ...rest,
    ...(feasibility as Record<string, unknown> | undefined),
    ...(facts as Record<string, unknown> | undefined),
  };
  const tables = Object.entries(flat).filter(([, value]) => isTable(value));
  const scalars = Object.entries(flat).filter(
    ([, value]) => !isTable(value) && !(Array.isArray(value) && value.length === 0),
  );
  const shown = scalars.map(([name, value]) => [name, Array.isArray(value) ? value.join('; ') : value]);
  const parts = [renderObject(Object.fromEntries(shown) as Record<string, unknown>, format)];
  for (const [name, rows] of tables) parts.push(`${name}\n${renderRows(rows as Record<string, unknown>[], format)}`);
  return parts.join('\n\n');
}
