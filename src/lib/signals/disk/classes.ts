/**
 * What could be freed on the nodes, by the classes of spec ta 5.4 in their order, each object with its statement, its bytes on
 * each replica, and the reason that holds it back where there is one. Pure.
 * Guarantees: parts that an operator detached (no reason) and broken ones are never named; `covered-by-broken` parts stay, on
 * a single node they may be the only copy of what the broken part held; the `signal` archive, the signal log and the newest
 * three days of the signal tables are never named.
 */
import { quoteIdentifier, quoteLiteral } from '../sql-text.ts';
import type { DiskLevel } from './level.ts';
import type { StoreFacts } from './probes.ts';

/** One node with its facts; undefined when it does not answer. */
export interface NodeFacts {
  replica: string;
  facts: StoreFacts | undefined;
}

export interface ClassQuestion {
  /** The signal database. */
  database: string;
  level: DiskLevel;
  /** What the homes of this machine say about runs, by run id: has it finished? */
  runs: ReadonlyMap<string, boolean>;
  /** Also days that are not past their TTL (class 9). */
  liveDays: boolean;
}

export interface Candidate {
  class: number;
  what: string;
  statement: string;
  /** Where it is run; a replicated object on one node, which frees it on all. */
  replica: string;
  /** Bytes freed by replica. */
  frees: Record<string, number>;
  reversible: string;
  /** Why `--confirm` does not run it; null when it does. */
  held: string | null;
  /** What must still be so when it is confirmed. */
  fact: string;
}

export const classNames: Readonly<Record<number, string>> = {
  1: 'system log tables',
  2: 'detached parts that are not needed',
  3: 'inactive parts (freed by themselves)',
  4: 'databases of simulations and replays',
  5: 'shadow and staging tables',
  6: 'raw frames and order books past 3 days',
  7: 'options tables past 7 days',
  8: 'signal partitions past their TTL',
  9: 'oldest signal partitions',
};

const droppableReasons = new Set(['ignored', 'clone', 'cloned', 'covered']);
const noLimit = 'SETTINGS max_table_size_to_drop = 0';
/** Days with rows that class 9 keeps: the loop's lookback and the last three trading days lie inside. */
const keptDays = 3;
/** Wall seconds without a write after which an object that nobody vouches for counts as left behind. */
const quietSeconds = 86_400;
/** The same for a table of a migration, which writes all the time while it runs. */
const shadowQuietSeconds = 600;
const shadowName = /(__replicated_migration_v\d+|_kafka_staging)$/;
const rawFrames = /^hyperliquid_(raw|l2_books)$/;
const optionsTables = /^options_/;

type Table = StoreFacts['tables'][number];
type Partition = StoreFacts['partitions'][number];

/** Every object, class by class in the order of the purge. */
export function candidatesOf(nodes: readonly NodeFacts[], question: ClassQuestion): Candidate[] {
  const local = nodes.flatMap(({ replica, facts }) => (facts ? localCandidates(replica, facts, question) : []));
  const partitions = nodes.flatMap(({ replica, facts }) =>
    facts ? partitionCandidates(replica, facts, question) : [],
  );
  const isComplete = nodes.every(({ facts }) => facts !== undefined);
  const silent = nodes.filter(({ facts }) => !facts).map(({ replica }) => replica);
  const merged = mergeReplicated(partitions).map((candidate) =>
    candidate.class === 9 && !isComplete
      ? { ...candidate, held: `replica ${silent.join(', ')} does not answer: its rows may be the only ones` }
      : candidate,
  );
  return [...local, ...merged].sort((a, b) => a.class - b.class);
}

function localCandidates(replica: string, facts: StoreFacts, question: ClassQuestion): Candidate[] {
  const make = (
    order: number,
    what: string,
    statement: string,
    bytes: number,
    reversible: string,
    held: string | null = null,
    // A log table may go on growing: the same table is the same fact.
    fact = '',
  ): Candidate => ({ class: order, what, statement, replica, frees: { [replica]: bytes }, reversible, held, fact });
  const lost = 'no: diagnostics are lost';
  const isLeftover = (table: string) => /_\d+$/.test(table);
  // The last day of query_log tells what happened: it goes only when nothing else helps.
  const logs = facts.logTables.filter(
    ({ table, bytes }) => bytes > 0 && (isLeftover(table) || table !== 'query_log' || question.level === 'emergency'),
  );
  logs.sort((a, b) => Number(isLeftover(b.table)) - Number(isLeftover(a.table)));
  const logSteps = logs.map(({ table, bytes }) =>
    make(
      1,
      `system.${table}`,
      `${isLeftover(table) ? 'DROP' : 'TRUNCATE'} TABLE system.${quoteIdentifier(table)} SYNC ${noLimit}`,
      facts.tables.find((of) => of.database === 'system' && of.table === table)?.all_bytes ?? bytes,
      lost,
    ),
  );
  const detached = facts.detached
    .filter(({ reason, table }) => droppableReasons.has(reason) && table !== '')
    .map((part) =>
      make(
        2,
        `detached ${part.reason} part of ${part.database}.${part.table}`,
        `ALTER TABLE ${nameOf(part)} DROP DETACHED PART ${quoteLiteral(part.name)} SETTINGS allow_drop_detached = 1`,
        part.bytes,
        'no',
      ),
    );
  const databases = facts.runDatabases
    .filter(({ database }) => database !== question.database)
    .map(({ database, runId }) => {
      const tables = facts.tables.filter((table) => table.database === database);
      const bytes =
        sum(tables.map(({ all_bytes }) => all_bytes)) +
        sum(facts.detached.filter((part) => part.database === database).map((part) => part.bytes));
      const held = holdOfDatabase(database, runId, tables, facts, question.runs);
      const rows = sum(tables.map((table) => table.rows));
      const statement = `DROP DATABASE ${quoteIdentifier(database)} SYNC`;
      return make(4, `database ${database}`, statement, bytes, 'by a new run of it', held, `${rows} rows`);
    });
  const shadows = facts.tables
    .filter(
      ({ database, table }) => shadowName.test(table) && !facts.runDatabases.some((of) => of.database === database),
    )
    .map((table) => {
      const held = holdOfShadow(table, facts);
      const statement = `DROP TABLE ${nameOf(table)} SYNC ${noLimit}`;
      return make(5, `${table.database}.${table.table}`, statement, table.all_bytes, 'no', held, `${table.rows} rows`);
    });
  return [...logSteps, ...detached, ...databases, ...shadows];
}

/** Why a database is not dropped yet; null when nothing needs it. */
function holdOfDatabase(
  database: string,
  runId: string | null,
  tables: readonly Table[],
  facts: StoreFacts,
  runs: ReadonlyMap<string, boolean>,
): string | null {
  if (isBusy(facts, database)) return 'a statement on it is running';
  const isFinished = runId === null ? undefined : runs.get(runId);
  if (isFinished === true) return null;
  if (isFinished === false) return `run ${runId} has not finished`;
  const quiet = tables.reduce((least, table) => Math.min(least, table.quiet_seconds), Number.POSITIVE_INFINITY);
  if (quiet >= quietSeconds) return null;
  return `nobody says that its run has finished, and it was written ${Math.round(quiet / 60)} minutes ago`;
}

/** Why a shadow is not dropped yet: it may hold the only copy of rows that a conversion has still to bring over. */
function holdOfShadow(table: Table, facts: StoreFacts): string | null {
  if (facts.migrating.includes(table.database))
    return 'a migration holds the database; `torghut clickhouse migrate` resumes it';
  if (isBusy(facts, table.table)) return 'a statement on it is running';
  if (table.quiet_seconds < shadowQuietSeconds)
    return `written ${table.quiet_seconds} s ago: a migration may be running`;
  const name = table.table.replace(shadowName, '');
  const live = facts.tables.find((of) => of.database === table.database && of.table === name);
  if (/_kafka_staging$/.test(table.table) || (live?.rows ?? 0) >= table.rows) return null;
  return `it has more rows than ${name}: finish the conversion with \`torghut clickhouse migrate\``;
}

const isBusy = (facts: StoreFacts, name: string): boolean => facts.busy.some((query) => query.includes(name));

function partitionCandidates(replica: string, facts: StoreFacts, question: ClassQuestion): Candidate[] {
  const make =
    (order: number, reversible: string) =>
    (part: Partition): Candidate => ({
      class: order,
      what: `${part.database}.${part.table} of ${part.partition}`,
      statement: `ALTER TABLE ${nameOf(part)} DROP PARTITION ID ${quoteLiteral(part.partition_id)} SETTINGS max_partition_size_to_drop = 0`,
      replica,
      frees: { [replica]: part.all_bytes },
      reversible,
      held: null,
      fact: `${part.rows} rows`,
    });
  const isReplicated = (part: Partition) => facts.replicated.includes(`${part.database}.${part.table}`);
  const older = (table: RegExp, days: number) =>
    facts.partitions
      .filter((part) => part.database === question.database && table.test(part.table) && (part.age_days ?? 0) > days)
      .sort(byDay);
  const candidates = [
    ...older(rawFrames, 3).map(make(6, 'from the log while it has that day')),
    ...older(optionsTables, 7).map(make(7, 'partly, from the log while it has that day')),
    ...facts.expired.map(make(8, 'no: already expired')),
    ...(question.liveDays ? oldest(facts, question.database) : []).map(make(9, 'by replay while the log has that day')),
  ];
  // One statement frees a replicated partition everywhere.
  const shared = new Set(facts.partitions.filter(isReplicated).map(({ database, table }) => `${database}.${table} `));
  return candidates.map((candidate) =>
    [...shared].some((prefix) => `${candidate.what} `.startsWith(prefix)) ? { ...candidate, replica: '' } : candidate,
  );
}

/** Joins the candidates of one replicated partition (replica '') and runs them on the first node that has it. */
function mergeReplicated(candidates: readonly Candidate[]): Candidate[] {
  const merged = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const key = `${candidate.replica} ${candidate.class} ${candidate.statement}`;
    const known = merged.get(key);
    if (known) known.frees = { ...known.frees, ...candidate.frees };
    else merged.set(key, { ...candidate, replica: candidate.replica || (Object.keys(candidate.frees)[0] ?? '') });
  }
  return [...merged.values()];
}

const byDay = (a: Partition, b: Partition): number => (a.partition < b.partition ? -1 : 1);

/** Day by day, signals before bars, never the newest days that have rows. The signal log is what trade reads: not here. */
function oldest(facts: StoreFacts, database: string): Partition[] {
  const days = facts.partitions.filter(
    (part) => part.database === database && ['ta_signals', 'ta_microbars'].includes(part.table),
  );
  const newest = [...new Set(days.map(({ partition }) => partition))].sort().slice(-keptDays);
  return days
    .filter((part) => !newest.includes(part.partition) && !facts.expired.includes(part))
    .sort((a, b) => b.table.localeCompare(a.table) || byDay(a, b));
}

function nameOf({ database, table }: { database: string; table: string }): string {
  return `${quoteIdentifier(database)}.${quoteIdentifier(table)}`;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
