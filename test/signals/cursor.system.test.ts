/**
 * The cursor of the trading loop over ta_signal_log on the real engine, while a sink writes with outages: inserts that never
 * arrived, inserts that did although the sink was told otherwise, batches cut anew after each, merges in between.
 */
import { finished } from 'node:stream/promises';
import type { ClickHouseClient } from '@clickhouse/client';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSignalReader } from '../../src/lib/signals/reader.ts';
import { rowOfRecord, type StoreRow } from '../../src/lib/signals/rows.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { createSignalWriter } from '../../src/lib/signals/writer.ts';
import { clientOf, type StoreProcess, startStore } from '../embedded/rig.ts';
import { freshHome } from '../support/torghut.ts';
import { logRecord, signal } from './records.ts';

let store: StoreProcess;
let client: ClickHouseClient;

beforeAll(async () => {
  store = await startStore('clickhouse', freshHome());
  client = clientOf(store.endpoint);
  await migrateSignalStore(client, { database: 'torghut', runId: 'r1', ttlDays: undefined });
});

afterAll(async () => {
  await client.close();
  await store.stop();
});

type Fault = 'lost' | 'unanswered' | 'none';

/** The client with outages: the next insert is lost on its way, or stored and its answer lost. */
function withOutages(faults: Fault[]): ClickHouseClient {
  const reset = () => Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
  return new Proxy(client, {
    get: (target, name) => {
      if (name !== 'exec') return Reflect.get(target, name);
      return async (query: Parameters<ClickHouseClient['exec']>[0]) => {
        const fault = faults.shift() ?? 'none';
        if (fault === 'lost') throw reset();
        const result = await target.exec(query);
        if (fault === 'none') return result;
        (result.stream as NodeJS.ReadableStream).resume();
        await finished(result.stream as NodeJS.ReadableStream);
        throw reset();
      };
    },
  });
}

const midnight = 1381276800;

interface Planned {
  symbol: number;
  partition: number;
  isMinute: boolean;
  /** Seconds from midnight: keys repeat, so that revisions come about. */
  at: number;
}

/** The records of the ta topic: every repeat of a key is its next revision. */
function recordsOf(planned: readonly Planned[], runId: string): StoreRow[] {
  const revisions = new Map<string, number>();
  // One partition passes an offset that the reader rounds to, in the middle of the rows.
  const offsets = [8_170n, 0n];
  return planned.map(({ symbol, partition, isMinute, at }) => {
    const name = `S${partition}${symbol}`;
    const key = `${name} ${isMinute} ${at}`;
    const revision = revisions.get(key) ?? 0;
    revisions.set(key, revision + 1);
    const offset = offsets[partition] as bigint;
    offsets[partition] = offset + 1n;
    const output = signal(name, midnight + at, { revision, windowSeconds: isMinute ? 60 : 1 });
    return rowOfRecord(logRecord(output, partition, offset, runId), 'signal');
  });
}

const plannedRow = fc.record({
  symbol: fc.integer({ min: 0, max: 1 }),
  partition: fc.integer({ min: 0, max: 1 }),
  isMinute: fc.boolean(),
  at: fc.integer({ min: -3, max: 3 }),
});
const fault = fc.constantFrom<Fault>('none', 'none', 'lost', 'unanswered');

describe('the cursor over the signal log', () => {
  test('delivers every revision exactly once and in order, whatever outages and merges come between', async () => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(plannedRow, { minLength: 1, maxLength: 80 }),
        fc.array(fault, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }),
        async (planned, faults, batches, limit, merges) => {
          const runId = `run-${run++}`;
          const records = recordsOf(planned, runId);
          const flaky = withOutages([...faults]);
          const writer = createSignalWriter({ client: async () => flaky, database: 'torghut' });
          const reader = createSignalReader({ client: async () => client, database: 'torghut', runId, partitions: 2 });
          const cursors = [0, 1].flatMap((partition) =>
            (['PT1S', 'PT1M'] as const).map((windowSize) => ({ windowSize, partition, from: 0n })),
          );
          const seen: string[][] = cursors.map(() => []);
          const read = async () => {
            const rows = await reader.read(cursors, limit);
            for (const row of rows) {
              const i = cursors.findIndex(
                ({ windowSize, partition }) => windowSize === row.windowSize && partition === row.partition,
              );
              (seen[i] as string[]).push(`${row.offset} ${row.symbol} ${row.eventTsMs} ${row.revision}`);
              (cursors[i] as (typeof cursors)[number]).from = row.offset + 1n;
            }
            return rows.length;
          };
          let isWriting = true;
          // The loop polls all the time, also in the middle of a write.
          const polling = (async () => {
            while (isWriting) await read();
          })();
          try {
            // As the sink: what is not acknowledged is read again, in batches cut anew.
            for (let done = 0, turn = 0; done < records.length; turn++) {
              const size = batches[turn % batches.length] as number;
              try {
                await writer.write(records.slice(done, done + size), 0);
                done += size;
              } catch (error) {
                expect((error as { code?: string }).code).toBe('ECONNRESET');
              }
              if (merges[turn % merges.length]) {
                await client.command({ query: 'OPTIMIZE TABLE torghut.ta_signal_log' });
              }
            }
          } finally {
            isWriting = false;
            await polling;
          }
          while ((await read()) > 0);
          const expected = cursors.map(({ windowSize, partition }) =>
            records
              .filter((row) => row.partition === partition && row.head.includes(`"window_size":"${windowSize}"`))
              .map((row) => {
                const { symbol, revision } = JSON.parse(`${row.head}}`) as { symbol: string; revision: number };
                return `${row.offset} ${symbol} ${row.eventMs} ${revision}`;
              }),
          );
          expect(seen).toEqual(expected);
        },
      ),
      { numRuns: process.env.TORGHUT_TEST_FULL ? 120 : 8, endOnFailure: true },
    );
  });
});
