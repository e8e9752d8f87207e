/**
 * Which process forwards a symbol when several share the universe: CRC-32 (IEEE) of its UTF-8 text, unsigned, modulo the number
 * of shards (spec ingest 2.2). Pure.
 */
import { crc32 } from 'node:zlib';

export interface Shard {
  /** From 0. */
  index: number;
  count: number;
}

export const onlyShard: Shard = { index: 0, count: 1 };

export function shardOf(symbol: string, count: number): number {
  return crc32(symbol) % count;
}

export function isOwnSymbol(symbol: string, shard: Shard): boolean {
  return shard.count === 1 || shardOf(symbol, shard.count) === shard.index;
}
