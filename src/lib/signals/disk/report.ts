/**
 * The report of `torghut clickhouse disk` for one node. Its JSON is stable: every key is always there.
 * Guarantee: what could not be asked is `unknown`, never ok; replicas and keeper of a single node are `n/a`, never ok.
 */
import { statfsSync } from 'node:fs';
import type { ClickHouseClient } from '@clickhouse/client';
import {
  type DiskLevel,
  daysToFull,
  growthPerDay,
  judgeDisk,
  judgeInodes,
  judgeParts,
  levelExitCode,
  type Verdict,
  worst,
} from './level.ts';
import { type DiskPlan, planPurge, type ReclaimableClass, reclaimable } from './plan.ts';
import { probeStore, type StoreFacts } from './probes.ts';

export interface DiskQuestion {
  database: string;
  /** The disk is on this machine: its inodes can be counted. */
  isLocal: boolean;
  targetFreeRatio: number;
  /** The time that a confirmed plan says it was made at, wall seconds. */
  issuedSeconds?: number | undefined;
}

interface DiskState {
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

export interface DiskReport {
  level: DiskLevel;
  exit_code: number;
  reasons: string[];
  database: string;
  /** RFC 3339, the server's wall clock. */
  checked_at: string | null;
  disks: DiskState[];
  growth: { bytes_per_day: number | null; days_to_full: number | null; basis: string };
  top_tables: StoreFacts['tables'];
  top_partitions: StoreFacts['partitions'];
  inactive: StoreFacts['inactive'];
  detached: StoreFacts['detached'];
  merges: StoreFacts['merges'];
  mutations: StoreFacts['mutations'];
  log_tables: StoreFacts['logTables'];
  part_pressure: { level: 'ok' | 'warn' | 'critical' | 'unknown'; most_parts: number; where: string | null };
  /** `n/a` where the server keeps no log of its parts. */
  part_log: 'n/a' | 'present';
  expired: { ttl_days: number | null; partitions: StoreFacts['expired']; bytes: number };
  replicas: { status: 'n/a' | 'not_checked' | 'unknown'; why: string };
  keeper: { status: 'n/a' | 'not_checked' | 'unknown'; why: string };
  reclaimable: ReclaimableClass[];
  plan: DiskPlan | null;
}

const top = 10;
const noHistory = 'less than an hour of history';

/** @throws errors of the client as they are; use unknownReport for them */
export async function reportDisk(client: ClickHouseClient, question: DiskQuestion): Promise<DiskReport> {
  const facts = await probeStore(client, question.database);
  const growth = growthPerDay(facts.growth.bytes_24h, facts.growth.history_seconds);
  const largest = facts.partitions[0]?.bytes ?? 0;
  const disks = facts.disks.map((disk) => stateOf(disk, question.isLocal, largest, growth));
  const verdict: Verdict =
    disks.length === 0 ? { level: 'unknown', reasons: ['the server names no disk'] } : worst(disks);
  const fullest = disks.reduce<DiskState | undefined>(
    (most, disk) => (most === undefined || disk.free_ratio < most.free_ratio ? disk : most),
    undefined,
  );
  const crowded = facts.partitions.reduce<StoreFacts['partitions'][number] | undefined>(
    (most, part) => (most === undefined || part.parts > most.parts ? part : most),
    undefined,
  );
  const { database, targetFreeRatio } = question;
  const { level } = verdict;
  const plan = fullest
    ? planPurge(
        facts,
        { database, level, freeBytes: fullest.free_bytes, totalBytes: fullest.total_bytes, targetFreeRatio },
        question.issuedSeconds,
      )
    : null;
  return {
    level,
    exit_code: levelExitCode[level],
    reasons: verdict.reasons,
    database,
    checked_at: new Date(facts.nowSeconds * 1000).toISOString(),
    disks,
    growth: {
      bytes_per_day: growth,
      days_to_full: fullest ? daysToFull(fullest.free_bytes, growth) : null,
      basis: growth === null ? noHistory : 'parts written within 24 hours; an upper bound, merges count again',
    },
    top_tables: facts.tables.slice(0, top),
    top_partitions: facts.partitions.slice(0, top),
    inactive: facts.inactive,
    detached: facts.detached,
    merges: facts.merges,
    mutations: facts.mutations,
    log_tables: facts.logTables,
    part_pressure: {
      level: judgeParts(crowded?.parts ?? 0),
      most_parts: crowded?.parts ?? 0,
      where: crowded ? `${crowded.database}.${crowded.table} ${crowded.partition}` : null,
    },
    part_log: facts.hasPartLog ? 'present' : 'n/a',
    expired: {
      ttl_days: facts.ttlDays,
      partitions: facts.expired,
      bytes: facts.expired.reduce((sum, { bytes }) => sum + bytes, 0),
    },
    ...clusterState(facts.replicatedTables),
    reclaimable: reclaimable(facts, database, level),
    plan,
  };
}

function clusterState(replicatedTables: number): Pick<DiskReport, 'replicas' | 'keeper'> {
  if (replicatedTables === 0) {
    const state = { status: 'n/a' as const, why: 'the node has no replicated table' };
    return { replicas: state, keeper: state };
  }
  const why = `the node has ${replicatedTables} replicated tables; this report covers this node's disk only`;
  return { replicas: { status: 'not_checked', why }, keeper: { status: 'not_checked', why } };
}

function stateOf(
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

/** The report when the node cannot be asked: unknown, which counts as critical. */
export function unknownReport(database: string, why: string): DiskReport {
  const state = { status: 'unknown' as const, why };
  return {
    level: 'unknown',
    exit_code: levelExitCode.unknown,
    reasons: [why],
    database,
    checked_at: null,
    disks: [],
    growth: { bytes_per_day: null, days_to_full: null, basis: why },
    top_tables: [],
    top_partitions: [],
    inactive: { bytes: 0, parts: 0 },
    detached: [],
    merges: [],
    mutations: [],
    log_tables: [],
    part_pressure: { level: 'unknown', most_parts: 0, where: null },
    part_log: 'n/a',
    expired: { ttl_days: null, partitions: [], bytes: 0 },
    replicas: state,
    keeper: state,
    reclaimable: [],
    plan: null,
  };
}
