/**
 * The embedded event log: records per second written and read, one record per commit against batches. The reference of the same
 * run is one appended and flushed file (write + fdatasync per commit), which is what a durable commit costs at least.
 *   node bench/log.ts [--seconds 3]
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openEventLog } from '../src/lib/log/open.ts';
import type { NewRecord } from '../src/lib/log/port.ts';
import { systemClock } from '../src/lib/service/clock.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '3' } } });
const limitMs = Number(values.seconds) * 1_000;
const RECORD_BYTES = 263;
const home = mkdtempSync(join(tmpdir(), 'torghut-bench-'));
const value = Buffer.alloc(RECORD_BYTES, 120);
const symbols = ['AIG', 'BAC', 'IBM', 'SPY'];

function perSecond(count: number, sinceMs: number): number {
  return Math.round((count * 1_000) / (performance.now() - sinceMs));
}

function quantile(sorted: number[], q: number): string {
  return (sorted[Math.floor(sorted.length * q)] ?? 0).toFixed(2);
}

const rows: Record<string, unknown>[] = [];

function reference(batch: number): number {
  const fd = openSync(join(home, 'reference'), 'w');
  const data = Buffer.alloc(batch * RECORD_BYTES, 120);
  const since = performance.now();
  let written = 0;
  while (performance.now() - since < limitMs) {
    writeSync(fd, data);
    fdatasyncSync(fd);
    written += batch;
  }
  closeSync(fd);
  return perSecond(written, since);
}

try {
  const log = await openEventLog({ home, env: {}, clock: systemClock() });
  for (const batch of [1, 20, 200, 2_000]) {
    const topic = `bench-${batch}`;
    await log.ensureTopics([{ name: topic, partitions: 3, retentionMs: -1, cleanup: 'delete', owner: topic }]);
    const writer = await log.openWriter({ owner: topic });
    const records = Array.from({ length: batch }, (_, i): NewRecord => {
      return { topic, key: symbols[i % symbols.length] as string, value, timestampMs: 1_381_239_000_000 + i };
    });
    const commitMs: number[] = [];
    const since = performance.now();
    while (performance.now() - since < limitMs) {
      const at = performance.now();
      await writer.commit({ records });
      commitMs.push(performance.now() - at);
    }
    const written = perSecond(commitMs.length * batch, since);
    commitMs.sort((a, b) => a - b);
    const partitions = [0, 1, 2].map((partition) => ({ topic, partition, start: 'earliest' as const }));
    const reader = await log.openReader({ partitions });
    const readSince = performance.now();
    let read = 0;
    for (let got = 1; got > 0; read += got) got = (await reader.poll({ maxRecords: 5_000, waitMs: 0 })).length;
    const readPerSecond = perSecond(read, readSince);
    await reader.close();
    await writer.close();
    rows.push({
      records_per_commit: batch,
      written_per_second: written,
      commit_ms_p50: quantile(commitMs, 0.5),
      commit_ms_p99: quantile(commitMs, 0.99),
      read_per_second: readPerSecond,
      flushed_file_per_second: reference(batch),
    });
  }
  await log.close();
  console.table(rows);
} finally {
  rmSync(home, { recursive: true, force: true });
}
