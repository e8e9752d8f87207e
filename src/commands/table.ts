/**
 * Which words make a command, with one line each and how to load it. Everything else about a command is in its own file.
 */
import type { Command } from 'commander';

export interface CommandModule {
  configure(command: Command): void;
}

export interface CommandEntry {
  summary: string;
  load(): Promise<CommandModule>;
  isHidden?: boolean;
}

export interface Noun {
  summary: string;
  /** The noun itself is a command (the daemons, `up`). */
  command?: CommandEntry;
  verbs?: Record<string, CommandEntry>;
  isHidden?: boolean;
}

const verb = (summary: string, load: () => Promise<CommandModule>): CommandEntry => ({ summary, load });

const command = (summary: string, load: () => Promise<CommandModule>): Noun => ({
  summary,
  command: { summary, load },
});

export const nouns: Record<string, Noun> = {
  up: command('Run the whole pipeline on this machine', () => import('./up.ts')),
  simulator: command('An Alpaca-compatible exchange: market streams, history, trading', () => import('./simulator.ts')),
  ws: {
    summary: 'Daemon: forward the market and order streams into the event log',
    command: verb('Daemon: forward the market and order streams into the event log', () => import('./ws.ts')),
    verbs: {
      status: verb('What the forwarder of a home does now, and what is wrong', () => import('./ws-status.ts')),
      topics: verb(
        'The ingest topics against what they must be; --ensure creates them',
        () => import('./ws-topics.ts'),
      ),
      'diagnose-406': verb(
        'Why the provider refuses ws, or readiness stays at 503; names one case',
        () => import('./ws-diagnose-406.ts'),
      ),
      gaps: verb('Recorded gaps by channel and symbol, and what became of them', () => import('./ws-gaps.ts')),
      backfill: verb(
        'What REST knows and the topics lack, into the repair topic; shows its plan first',
        () => import('./ws-backfill.ts'),
      ),
    },
  },
  ta: {
    summary: 'Daemon: micro-bars and indicators from the log, and the sink into ClickHouse',
    command: verb(
      'Daemon: micro-bars and indicators from the log, and the sink into ClickHouse',
      () => import('./ta.ts'),
    ),
    verbs: {
      status: verb('What the engine of a home does now, and what is wrong', () => import('./ta-status.ts')),
      pause: verb('Stop computing and storing, or one of them; input waits in the log', () => import('./ta-pause.ts')),
      resume: verb('Go on from the last commit', () => import('./ta-resume.ts')),
      replay: verb(
        'Compute a window once more beside the live run, or instead of it; shows its plan first',
        () => import('./ta-replay.ts'),
      ),
      verify: verb('Compute a stretch of the log anew and compare it with the store', () => import('./ta-verify.ts')),
      diff: verb('Compare two outputs by key; the first difference with its trades', () => import('./ta-diff.ts')),
      compute: verb('Bars and signals of a file of messages, by the bare core', () => import('./ta-compute.ts')),
    },
  },
  trade: {
    summary: 'Daemon: signals to decisions, risk and orders',
    command: verb('Daemon: signals to decisions, risk and orders', () => import('./trade.ts')),
    verbs: {
      status: verb('What the trading daemon of a home does now', () => import('./trade-status.ts')),
      pause: verb('Stop deciding; reconcile goes on', () => import('./trade-pause.ts')),
      resume: verb('Go on deciding, once every condition holds', () => import('./trade-resume.ts')),
      stop: verb('Emergency stop: no order leaves; cancels on demand', () => import('./trade-stop.ts')),
      'arm-live': verb('Arm a live account, or confirm it as a second person', () => import('./trade-arm-live.ts')),
      reconcile: verb('Bring the ledger to what the broker says', () => import('./trade-reconcile.ts')),
      positions: verb('Positions of ledger and broker side by side', () => import('./trade-positions.ts')),
      decisions: verb('Decisions of the ledger, newest first', () => import('./trade-decisions.ts')),
      executions: verb('Orders of the ledger with their fills, newest first', () => import('./trade-executions.ts')),
    },
  },
  strategy: {
    summary: 'The strategy catalog',
    verbs: {
      validate: verb(
        'Check a catalog file, every mistake with line and column',
        () => import('./strategy-validate.ts'),
      ),
      list: verb('Strategies as the loop last took them over', () => import('./strategy-list.ts')),
      diff: verb('What differs between two catalogs, field by field', () => import('./strategy-diff.ts')),
      history: verb('Which catalog was in force when, and why', () => import('./strategy-history.ts')),
      rollback: verb('An earlier catalog back, or one strategy off', () => import('./strategy-rollback.ts')),
    },
  },
  config: command('Show the effective configuration and where each value came from', () => import('./config.ts')),
  log: {
    summary: 'The event log',
    verbs: {
      tail: verb('Print records of a topic', () => import('./log-tail.ts')),
      topics: verb('Topics with their partitions, offsets and retention', () => import('./log-topics.ts')),
      groups: verb('Consumer groups with members, offsets and lag', () => import('./log-groups.ts')),
    },
  },
  clickhouse: {
    summary: 'The signal store',
    verbs: {
      disk: verb('How full the store is, why, and what may go', () => import('./clickhouse-disk.ts')),
      guard: verb(
        'Daemon: watch the disks of the store, export them, hold entries in an emergency',
        () => import('./clickhouse-guard.ts'),
      ),
      coverage: verb('What is stored, and where the session has holes', () => import('./clickhouse-coverage.ts')),
      replicas: verb(
        'Replicas and keeper, what is wrong by name; --restore brings them back',
        () => import('./clickhouse-replicas.ts'),
      ),
      schema: verb('The live schema against the expected one', () => import('./clickhouse-schema.ts')),
      migrate: verb(
        'Bring the store to the schema of this program; shows its plan first',
        () => import('./clickhouse-migrate.ts'),
      ),
      grants: verb('Users of the store with their rights, as a plan', () => import('./clickhouse-grants.ts')),
      query: verb('Run SQL on ClickHouse (read-only unless --write)', () => import('./clickhouse-query.ts')),
    },
  },
  history: command(
    'Daemon: bars, signals, decisions and executions over HTTP, read-only',
    () => import('./history.ts'),
  ),
  db: {
    summary: 'The ledger',
    verbs: {
      check: verb('Compare the ledger with what this version expects', () => import('./db-check.ts')),
      query: verb('Run SQL on Postgres (read-only unless --write)', () => import('./db-query.ts')),
      migrate: verb(
        'Bring the ledger to the schema of this program; shows its plan first',
        () => import('./db-migrate.ts'),
      ),
    },
  },
  completion: command('Print the script that completes torghut in a shell', () => import('./completion.ts')),
  complete: {
    ...command(
      'What can follow the words typed so far; asked by the completion script',
      () => import('./completion.ts'),
    ),
    isHidden: true,
  },
  embedded: {
    summary: 'The stores that up brings',
    isHidden: true,
    verbs: {
      clickhouse: verb('Run the embedded ClickHouse engine of a home', () => import('./embedded-clickhouse.ts')),
      postgres: verb('Run the embedded Postgres of a home', () => import('./embedded-postgres.ts')),
    },
  },
};

export type Found =
  | { kind: 'root' }
  | { kind: 'noun'; name: string }
  | { kind: 'command'; entry: CommandEntry; words: string[] }
  | { kind: 'unknown'; what: string; word: string; names: string[] };

/** Finds the command that the arguments name; options before the words are not allowed except -h and --version. */
export function findCommand(argv: readonly string[]): Found {
  const [first, second] = argv;
  if (first === undefined || first.startsWith('-') || first === 'help') return { kind: 'root' };
  const noun = nouns[first];
  if (!noun) return { kind: 'unknown', what: 'command', word: first, names: Object.keys(nouns) };
  if (noun.verbs && second !== undefined && !second.startsWith('-')) {
    const entry = noun.verbs[second];
    if (entry) return { kind: 'command', entry, words: [first, second] };
    // Also where the noun alone is a command: none of those with verbs takes a word of its own.
    return { kind: 'unknown', what: `verb of ${first}`, word: second, names: Object.keys(noun.verbs) };
  }
  if (noun.command) return { kind: 'command', entry: noun.command, words: [first] };
  return { kind: 'noun', name: first };
}
