/**
 * One node of the store in the report: its disks with their level, growth, parts, replication. Pure but for the inodes of a
 * disk on this machine. What could not be asked is `unknown`, never ok; replicas and keeper of a single node are `n/a`.
 */
import { statfsSync } from 'node:fs';
import { type DiskSample, slopePerDay } from './history.ts';
import {
  type DiskLevel,
  daysToFull,
  growthPerDay,
  judgeDisk,
  judgeInodes,
  judgeParts,
  type Verdict,
  worst,
} from './level.ts';
import type { StoreFacts } from './probes.ts';

export interface DiskState {
  replica: string;
  name: string;
  free_bytes: number;
  total_bytes: number;
  free_ratio: number;
  unreserved_bytes: number;
  /** Null where the filesystem counts none or the node is another machine. */
  free_inodes: number | null;
  total_inodes: number | null;
  level: DiskLevel;
  reasons: string[];
}

export interface Health {
  status: 'ok' | 'problem' | 'n/a' | 'unknown';
  why: string;
}

export interface NodeReport {
  replica: string;
  level: DiskLevel;
  reasons: string[];
  /** Why it could not be asked; null when it answered. */
  error: string | null;
  disks: DiskState[];
  growth: { bytes_per_day: number | null; days_to_full: number | null; basis: string };
  part_pressure: {
    level: 'ok' | 'warn' | 'critical' | 'unknown';
    most_parts: number;
    where: string | null;
    /** Null where the server keeps no log of its parts. */
    new_parts_per_hour: number | null;
    median_rows_per_part: number | null;
  };
  inactive: StoreFacts['inactive'];
  detached: StoreFacts['detached'];
  merges: StoreFacts['merges'];
  mutations: StoreFacts['mutations'];
  log_tables: StoreFacts['logTables'];
  expired: { ttl_days: number | null; partitions: StoreFacts['expired']; bytes: number };
  /** Refused writes of the last ten minutes by code. */
  write_errors: StoreFacts['errors'];
  replication: Health;
  keeper: Health;
  /** RFC 3339, market time; null while the table is empty. */
  newest: { ta_signals: string | null; ta_microbars: string | null };
}

const fewRows = 100;
/** Spec ta R-lag. */
const longDelaySeconds = 300;

export interface NodeQuestion {
  replica: string;
  facts: StoreFacts;
  /** The disk is on this machine: its inodes can be counted. */
  isLocal: boolean;
  samples: readonly DiskSample[];
}

export function reportNode({ replica, facts, isLocal, samples }: NodeQuestion): NodeReport {
  const largest = facts.partitions[0]?.bytes ?? 0;
  const used = facts.disks.reduce((sum, disk) => sum + disk.total_bytes - disk.free_bytes, 0);
  const slope = slopePerDay(samples, { replica, at_seconds: facts.nowSeconds, used_bytes: used });
  const perDay = slope ?? growthPerDay(facts.growth.bytes_24h, facts.growth.history_seconds);
  const disks = facts.disks.map((disk) => stateOf(replica, disk, isLocal, largest, perDay));
  const verdict: Verdict =
    disks.length === 0 ? { level: 'unknown', reasons: [`${replica}: the server names no disk`] } : worst(disks);
  const fullest = fullestOf(disks);
  return {
    replica,
    level: verdict.level,
    reasons: verdict.reasons,
    error: null,
    disks,
    growth: {
      bytes_per_day: perDay,
      days_to_full: fullest ? daysToFull(fullest.free_bytes, perDay) : null,
      basis:
        slope !== null ? 'samples of the last 24 hours' : perDay === null ? 'less than an hour of history' : partsBasis,
    },
    part_pressure: pressureOf(facts),
    inactive: facts.inactive,
    detached: facts.detached,
    merges: facts.merges,
    mutations: facts.mutations,
    log_tables: facts.logTables,
    expired: {
      ttl_days: facts.ttlDays,
      partitions: facts.expired,
      bytes: facts.expired.reduce((sum, { bytes }) => sum + bytes, 0),
    },
    write_errors: facts.errors,
    replication: replicationOf(facts),
    keeper: keeperOf(facts),
    newest: { ta_signals: newestOf(facts, 'ta_signals'), ta_microbars: newestOf(facts, 'ta_microbars') },
  };
}

const partsBasis = 'parts written within 24 hours; an upper bound, merges count again';

/** The report of a node that does not answer. */
export function silentNode(replica: string, error: string): NodeReport {
  const unknown: Health = { status: 'unknown', why: error };
  return {
    replica,
    level: 'unknown',
    reasons: [`${replica}: ${error}`],
    error,
    disks: [],
    growth: { bytes_per_day: null, days_to_full: null, basis: error },
    part_pressure: {
      level: 'unknown',
      most_parts: 0,
      where: null,
      new_parts_per_hour: null,
      median_rows_per_part: null,
    },
    inactive: { bytes: 0, parts: 0 },
    detached: [],
    merges: [],
    mutations: [],
    log_tables: [],
    expired: { ttl_days: null, partitions: [], bytes: 0 },
    write_errors: [],
    replication: unknown,
    keeper: unknown,
    newest: { ta_signals: null, ta_microbars: null },
  };
}

/** The disk with the smallest free share. */
export function fullestOf(disks: readonly DiskState[]): DiskState | undefined {
  return disks.reduce<DiskState | undefined>(
    (most, disk) => (most === undefined || disk.free_ratio < most.free_ratio ? disk : most),
    undefined,
  );
}

function newestOf(facts: StoreFacts, table: 'ta_signals' | 'ta_microbars'): string | null {
  const seconds = facts.freshness.find((each) => each.table === table)?.newestSeconds ?? null;
  return seconds === null ? null : new Date(seconds * 1000).toISOString();
}

function pressureOf(facts: StoreFacts): NodeReport['part_pressure'] {
  const crowded = facts.partitions.reduce<StoreFacts['partitions'][number] | undefined>(
    (most, part) => (most === undefined || part.parts > most.parts ? part : most),
    undefined,
  );
  const byCount = judgeParts(crowded?.parts ?? 0);
  const areSmall = facts.partLog !== null && facts.partLog.new_parts_1h > 0 && facts.partLog.median_rows < fewRows;
  return {
    level: byCount === 'ok' && areSmall ? 'warn' : byCount,
    most_parts: crowded?.parts ?? 0,
    where: crowded ? `${crowded.database}.${crowded.table} ${crowded.partition}` : null,
    new_parts_per_hour: facts.partLog?.new_parts_1h ?? null,
    median_rows_per_part: facts.partLog?.median_rows ?? null,
  };
}

function replicationOf({ replicas, replicated }: StoreFacts): Health {
  if (replicas.length === 0 && replicated.length === 0)
    return { status: 'n/a', why: 'the node has no replicated table' };
  const problems = replicas.flatMap((table) => {
    const name = `${table.database}.${table.table}`;
    return [
      ...(table.is_readonly ? [`${name} is read only`] : []),
      ...(table.is_session_expired ? [`${name}: the keeper session is over`] : []),
      ...(table.absolute_delay > longDelaySeconds ? [`${name} is ${table.absolute_delay} s behind`] : []),
      ...(table.lost_part_count > 0 ? [`${name} has lost ${table.lost_part_count} parts`] : []),
      ...(table.active_replicas < table.total_replicas
        ? [`${name}: ${table.active_replicas} of ${table.total_replicas} replicas are active`]
        : []),
    ];
  });
  if (problems.length > 0) return { status: 'problem', why: problems.join('; ') };
  return { status: 'ok', why: `${replicas.length} replicated tables, none read only` };
}

function keeperOf({ keeperError, replicas }: StoreFacts): Health {
  if (keeperError === undefined) return { status: 'n/a', why: 'no table uses a keeper' };
  const exception = replicas.find((table) => table.exception !== '')?.exception;
  const problem = keeperError ?? exception;
  return problem === undefined || problem === null
    ? { status: 'ok', why: 'it answers' }
    : { status: 'problem', why: problem.slice(0, 200) };
}

function stateOf(
  replica: string,
  disk: StoreFacts['disks'][number],
  isLocal: boolean,
  largestPartitionBytes: number,
  growth: number | null,
): DiskState {
  const { free_bytes: freeBytes, total_bytes: totalBytes } = disk;
  const inodes = isLocal ? inodesOf(disk.path) : undefined;
  const figures = { freeBytes, totalBytes, largestPartitionBytes, daysToFull: daysToFull(freeBytes, growth) };
  const verdicts = [judgeDisk(figures)];
  const ofInodes = inodes && judgeInodes(inodes.free, inodes.total);
  if (ofInodes) verdicts.push(ofInodes);
  return {
    replica,
    name: disk.name,
    free_bytes: freeBytes,
    total_bytes: totalBytes,
    free_ratio: totalBytes > 0 ? Math.round((freeBytes / totalBytes) * 10_000) / 10_000 : 0,
    unreserved_bytes: disk.unreserved_bytes,
    free_inodes: ofInodes && inodes ? inodes.free : null,
    total_inodes: ofInodes && inodes ? inodes.total : null,
    ...worst(verdicts),
  };
}

function inodesOf(path: string): { free: number; total: number } | undefined {
  try {
    const { ffree, files } = statfsSync(path);
    return { free: ffree, total: files };
  } catch {
    // Not on this machine after all, or not ours to see.
    return undefined;
  }
}
