/**
 * Progress of an input partition: the minimum over its shards, once every shard has spoken (design 5).
 */
import { z } from 'zod';
import type { Instant } from '../../lib/ta/index.ts';

const instantSchema = z.object({ sec: z.int(), nano: z.int() });

export const progressSchema = z.object({ shards: z.int().positive(), at: z.record(z.string(), instantSchema) });

/** Per shard the time up to which it has told everything. */
export type ShardProgress = z.infer<typeof progressSchema>;

/** `i/n` of the header; one shard when it is absent. */
function shardOf(header: string | undefined): { index: string; count: number } | undefined {
  const match = /^(\d+)\/(\d+)$/.exec(header ?? '0/1');
  if (!match || Number(match[1]) >= Number(match[2])) return undefined;
  return { index: match[1] as string, count: Number(match[2]) };
}

/**
 * Notes what a shard tells.
 * @returns the new state and the partition's progress; undefined while a shard has not spoken, or for a broken header
 */
export function noteProgress(
  state: ShardProgress | undefined,
  header: string | undefined,
  time: Instant,
): { state: ShardProgress | undefined; progress: Instant | undefined } {
  const shard = shardOf(header);
  if (!shard) return { state, progress: undefined };
  // Another number of shards: the old ones say nothing any more.
  const at: Record<string, Instant> = state?.shards === shard.count ? { ...state.at } : {};
  at[shard.index] = { sec: time.sec, nano: time.nano };
  const next = { shards: shard.count, at };
  const times = Object.values(at);
  if (times.length < shard.count) return { state: next, progress: undefined };
  const progress = times.reduce((a, b) => (a.sec < b.sec || (a.sec === b.sec && a.nano <= b.nano) ? a : b));
  return { state: next, progress };
}
