/**
 * From what the servers say to a name and an action for each replica of each table (spec ta 6: R5, R6, R-lag). Pure.
 *
 * | diagnosis | signs | action |
 * |---|---|---|
 * | replica_unreachable | the server does not answer | none: bring it back first |
 * | keeper_unreachable | no session, and the keeper does not answer | none: bring the keeper back, servers reconnect alone |
 * | session_expired | the table's session is gone, the keeper answers | restart |
 * | metadata_lost | the keeper has no path of the table | restart when not yet read-only, then restore |
 * | replica_metadata_lost | the table's path is there, this replica's is not | the same |
 * | read_only | session and metadata are there, the table takes no inserts | restart |
 * | lost_parts, lagging | it works and is behind | none: see the cause |
 *
 * Guarantees: nothing is restored while a server is silent, while the keeper is away, or where another server has the same table
 * in good health: its rows and those of the restored one would go apart, and one of them would be lost.
 */
import type { KeeperState } from './keeper.ts';
import type { NodeState, ReplicaTable } from './probes.ts';

export const diagnoses = [
  'replica_unreachable',
  'keeper_unreachable',
  'session_expired',
  'metadata_lost',
  'replica_metadata_lost',
  'read_only',
  'lost_parts',
  'lagging',
] as const;
export type Diagnosis = (typeof diagnoses)[number];

export type RepairAction = 'restart' | 'restore' | 'restart_and_restore';

export interface Finding {
  replica: string;
  /** database.table; null for a finding about the server. */
  table: string | null;
  diagnosis: Diagnosis;
  why: string;
  action: RepairAction | null;
  /** Why the action must not be done now; null when it may. */
  refused: string | null;
}

/** Limits of R-lag; a delay is judged only on a replica that takes inserts. */
export const lagLimits = { delaySeconds: 60, pageSeconds: 300, queue: 100, inserts: 50 } as const;

/** Is the keeper away, as far as anybody can tell? */
export function isKeeperAway(nodes: readonly NodeState[], keepers: readonly KeeperState[]): boolean {
  const answering = nodes.filter(({ error, tables }) => error === null && tables.length > 0);
  if (keepers.some(({ answer }) => answer === 'ok' || answer === 'refused')) return false;
  if (keepers.some(({ answer }) => answer === 'bad')) return true;
  if (answering.length === 0) return false;
  const hasNoSession = answering.every(({ has_session }) => has_session === false);
  const isLost = answering.every(({ tables }) => tables.every((table) => table.is_session_expired || isCutOff(table)));
  // A keeper that is asked and silent may only be out of reach from here: the servers decide. Nobody asked: both must say so.
  return keepers.length > 0 ? hasNoSession || isLost : hasNoSession && isLost;
}

/** The last thing this table heard from the keeper is a broken connection. */
const isCutOff = (table: ReplicaTable): boolean =>
  table.metadata === 'unknown' && /connection|session|timeout|KEEPER/i.test(table.zookeeper_exception);

export function diagnose(nodes: readonly NodeState[], keepers: readonly KeeperState[]): Finding[] {
  const isAway = isKeeperAway(nodes, keepers);
  const silent = nodes.filter(({ error }) => error !== null);
  const findings: Finding[] = silent.map(({ replica, error }) => ({
    replica,
    table: null,
    diagnosis: 'replica_unreachable',
    why: error ?? '',
    action: null,
    refused: null,
  }));
  for (const { replica, tables } of nodes) {
    for (const table of tables) {
      const found = judge(table, isAway);
      if (!found) continue;
      const refused = found.action === null ? null : whyNot(table, replica, nodes);
      findings.push({ replica, table: `${table.database}.${table.table}`, ...found, refused });
    }
  }
  return findings;
}

function judge(table: ReplicaTable, isAway: boolean): Pick<Finding, 'diagnosis' | 'why' | 'action'> | undefined {
  const said = table.zookeeper_exception.split('\n')[0]?.slice(0, 160);
  if (isAway) {
    return { diagnosis: 'keeper_unreachable', why: said || 'no session, and no keeper answers', action: null };
  }
  if (table.metadata === 'table_missing' || table.metadata === 'replica_missing') {
    const isTable = table.metadata === 'table_missing';
    return {
      diagnosis: isTable ? 'metadata_lost' : 'replica_metadata_lost',
      why: `the keeper has no ${isTable ? table.zookeeper_path : `${table.zookeeper_path}/replicas/${table.replica_name}`}`,
      // RESTORE works on a read-only table alone, and a table notices the loss only when it starts anew.
      action: table.is_readonly ? 'restore' : 'restart_and_restore',
    };
  }
  if (table.is_session_expired) {
    return {
      diagnosis: 'session_expired',
      why: 'the session with the keeper is over, the keeper answers',
      action: 'restart',
    };
  }
  if (table.is_readonly) {
    const why = said || 'its metadata are in the keeper, yet it takes no inserts';
    return { diagnosis: 'read_only', why, action: 'restart' };
  }
  if (table.lost_part_count > 0) {
    return { diagnosis: 'lost_parts', why: `${table.lost_part_count} parts are on no replica`, action: null };
  }
  const lag = lagOf(table);
  return lag === undefined ? undefined : { diagnosis: 'lagging', why: lag, action: null };
}

/** In the order of causes: what the queue says is first, then how far it is. */
function lagOf(table: ReplicaTable): string | undefined {
  const { absolute_delay: delay, queue_size: queue, inserts_in_queue: inserts, queue_error: error } = table;
  const signs = [
    ...(delay > lagLimits.delaySeconds ? [`${delay} s behind${delay > lagLimits.pageSeconds ? ' (page)' : ''}`] : []),
    ...(queue > lagLimits.queue ? [`${queue} entries wait`] : []),
    ...(inserts > lagLimits.inserts ? [`${inserts} inserts wait`] : []),
  ];
  if (signs.length === 0) return undefined;
  return [...signs, ...(error === '' ? [] : [`last error: ${error}`])].join(', ');
}

function whyNot(table: ReplicaTable, replica: string, nodes: readonly NodeState[]): string | null {
  const silent = nodes.find(({ error }) => error !== null);
  if (silent) return `${silent.replica} does not answer, and may hold rows that nobody else has`;
  const isLost = table.metadata === 'table_missing' || table.metadata === 'replica_missing';
  if (table.metadata !== 'table_missing')
    return isLost || table.metadata === 'present' || table.is_session_expired
      ? null
      : 'the keeper does not say whether the metadata are there';
  const healthy = nodes.find(
    (node) => node.replica !== replica && node.tables.some((other) => isSameTable(other, table) && isHealthy(other)),
  );
  if (!healthy) return null;
  return `${healthy.replica} has the table in good health under the same path: this server asks another keeper, and a restore here would part their rows`;
}

const isSameTable = (a: ReplicaTable, b: ReplicaTable): boolean =>
  a.database === b.database && a.table === b.table && a.zookeeper_path === b.zookeeper_path;

const isHealthy = (table: ReplicaTable): boolean =>
  !table.is_readonly && !table.is_session_expired && table.metadata === 'present';
