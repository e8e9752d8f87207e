/**
 * Which way to go, from the signals of spec ta 5.4. Pure. The ids are stable and named by runbooks/clickhouse-disk.md.
 */
import type { DiskLevel } from './level.ts';
import type { NodeReport } from './node-report.ts';
import type { DiskPlan } from './plan.ts';

export const adviceIds = [
  'replica_silent',
  'pause_ta',
  'one_replica',
  'purge',
  'grow',
  'not_the_store',
  'too_many_parts',
  'replica_readonly',
  'ttl_starved',
] as const;

export interface Advice {
  id: (typeof adviceIds)[number];
  text: string;
}

const noSpace = new Set(['75', '243']);

export function adviceOf(level: DiskLevel, nodes: readonly NodeReport[], plan: DiskPlan | null): Advice[] {
  const advice: Advice[] = [];
  const add = (id: Advice['id'], text: string) => advice.push({ id, text });
  const silent = nodes.filter(({ error }) => error !== null);
  const asked = nodes.filter(({ error }) => error === null);
  if (silent.length > 0) {
    add('replica_silent', `${silent.map(({ replica }) => replica).join(', ')}: does not answer; treat it as critical`);
  }
  const isNoSpace = asked.some(({ write_errors }) => write_errors.some(({ code }) => noSpace.has(code)));
  const isBad = level === 'critical' || level === 'emergency';
  if (isBad || isNoSpace) {
    add('pause_ta', 'the sink waits by itself and nothing is lost; on Flink pause TA first, then purge');
  }
  const low = asked.filter((node) => node.level !== 'ok');
  if (low.length > 0 && low.length < asked.length) {
    add(
      'one_replica',
      `only ${low.map(({ replica }) => replica).join(', ')} is low: look at its queue and detached parts; purge there first`,
    );
  }
  if (plan && plan.needed_bytes > 0) {
    if (plan.freed_bytes > 0)
      add('purge', `run the plan ${plan.id}${plan.reaches_target ? ', which reaches the target' : ''}`);
    if (!plan.reaches_target) add('grow', 'what may be dropped does not reach the target: grow the volume');
  }
  const stored = asked.reduce(
    (sum, { inactive, log_tables: logs }) => sum + inactive.bytes + logs.reduce((n, { bytes }) => n + bytes, 0),
    0,
  );
  const used = asked.reduce(
    (sum, { disks }) => sum + disks.reduce((n, disk) => n + disk.total_bytes - disk.free_bytes, 0),
    0,
  );
  if (isBad && plan && plan.steps.length === 0 && used > 0 && stored < used * 0.1) {
    add(
      'not_the_store',
      'the store has little to give: look with the tools of the machine at what else fills the disk',
    );
  }
  const code = (wanted: string) =>
    asked.some(({ write_errors: errors }) => errors.some((error) => error.code === wanted));
  if (code('252'))
    add(
      'too_many_parts',
      'inserts were refused for too many parts: stop replays, let the batches grow, wait for merges',
    );
  if (asked.some(({ replication }) => replication.status === 'problem') || code('242')) {
    add('replica_readonly', 'a replica is not healthy: `torghut clickhouse replicas` says what to do');
  }
  const starved = asked.filter(({ expired, merges }) => expired.bytes > 0 && merges.length === 0);
  if (starved.length > 0) {
    add(
      'ttl_starved',
      `${starved.map(({ replica }) => replica).join(', ')}: rows past their TTL and no merge is running; class 8 drops them`,
    );
  }
  return advice;
}
