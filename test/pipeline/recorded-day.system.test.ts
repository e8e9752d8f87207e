/**
 * The recorded day through the real daemons on a real broker: kill -9 of ta, of the sink and of the broker at seeded moments
 * leaves the topics (read committed) and the current rows of ClickHouse as an undisturbed run leaves them, in everything but
 * `ingest_ts`. The killed run writes Avro by a real schema registry, the undisturbed one JSON. The whole day with twenty kills when TORGHUT_TEST_FULL is set, else its first minutes with one kill of each.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { openEventLog } from '../../src/lib/log/open.ts';
import type { EventLog } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { type ClockOwner, ownClockFile } from '../../src/lib/service/clock.ts';
import { isFramed, TaDecoder } from '../../src/lib/wire/ta-wire.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { startSchemaRegistry } from '../support/schema-registry.ts';
import { freshHome } from '../support/torghut.ts';
import { seededRandom } from '../ta/fixtures.ts';
import { DayRun, digestsOf, endOf } from './day-run.ts';
import { type FeedCounts, feedRecordedDay } from './recorded-feed.ts';

const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
const isFull = process.env.TORGHUT_TEST_FULL !== undefined && process.env.TORGHUT_TEST_FULL !== '';
const stretch = isFull
  ? { from: '2013-10-08T00:00', to: '2013-10-09T00:00', kills: { ta: 7, sink: 7, broker: 6 } }
  : { from: '2013-10-08T13:30', to: '2013-10-08T13:40', kills: { ta: 1, sink: 1, broker: 1 } };
const noRegistry = {
  TA_SCHEMA_REGISTRY_USER: undefined,
  TA_SCHEMA_REGISTRY_PASSWORD: undefined,
  TA_SCHEMA_AUTO_REGISTER: false,
};
type Victim = keyof typeof stretch.kills;
/** A run that is slower than this has stopped, not slowed down. */
const LIMIT_MS = isFull ? 1_200_000 : 240_000;

describe.skipIf(!process.env.TORGHUT_DATA)('the recorded day on Kafka (needs TORGHUT_DATA)', () => {
  const closing: (() => unknown)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  /** A broker with the day in its ingest topics. */
  async function recorded(): Promise<{
    kafka: KafkaServer;
    clock: ClockOwner;
    path: string;
    log: EventLog;
    fed: FeedCounts;
  }> {
    const folder = freshHome();
    closing.push(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'clock');
    // Market time stands still behind the day, so that the information columns are no matter of speed.
    const clock = ownClockFile(path, BigInt(Date.parse('2013-10-09T01:00:00Z')) * 1_000_000n, 0);
    closing.push(() => clock.close());
    const renewing = setInterval(() => clock.renew(), 50);
    closing.push(() => clearInterval(renewing));
    const kafka = await startKafka();
    closing.push(() => kafka.stop());
    const log = await openEventLog({ home: folder, env: { KAFKA_BOOTSTRAP: kafka.bootstrap }, clock });
    closing.push(() => log.close());
    const fed = await feedRecordedDay(log, clock, { data: process.env.TORGHUT_DATA as string, seed, ...stretch });
    return { kafka, clock, path, log, fed };
  }

  /** Waits until ta has read everything and the sink has stored everything. */
  async function finished(run: DayRun, log: EventLog, total: number): Promise<void> {
    await run.until('ta has read the day', async () => ((await run.progress()).read ?? 0) >= total, LIMIT_MS);
    const rows = await endOf(log, [run.topics.bars, run.topics.signals]);
    await run.until('the sink has stored the day', async () => ((await run.progress()).stored ?? 0) >= rows, LIMIT_MS);
  }

  /** @param registry address of the schema registry when bars and signals are Avro */
  async function resultOf(run: DayRun, log: EventLog, registry?: string) {
    const decoder = new TaDecoder({ ...noRegistry, TA_SCHEMA_REGISTRY_URL: registry });
    const read = async (value: Buffer | null) => {
      // A run with a registry writes nothing else than Avro, one without nothing else than JSON.
      expect(isFramed(value)).toBe(registry !== undefined);
      return JSON.parse(String((await decoder.toJson({ topic: run.home, value })).value)) as Record<string, unknown>;
    };
    const [bars, signals, late] = [
      await digestsOf(log, run.topics.bars, read),
      await digestsOf(log, run.topics.signals, read),
      await digestsOf(log, run.topics.late),
    ];
    return { bars, signals, late, rows: await run.currentRows() };
  }

  test(
    'is the same after kill -9 of ta, of the sink and of the broker at seeded moments',
    async () => {
      console.log(`seed ${seed}, ${JSON.stringify(stretch)}`);
      const { kafka, path, log, fed } = await recorded();
      expect((fed.late + fed.twice + fed.cancelled) / fed.records).toBeGreaterThan(0.01);
      const total = await endOf(log, [defaultTopics.trades, defaultTopics.quotes, defaultTopics.bars]);
      const newRun = (name: string, env: NodeJS.ProcessEnv = {}) => {
        const run = new DayRun({ name, bootstrap: kafka.bootstrap, clock: path, env });
        closing.push(() => run.stop());
        return run;
      };

      const straight = newRun('straight');
      // Without a ClickHouse the computation goes on to its end; the sink waits, and stores when there is one.
      straight.start(['ta', 'sink']);
      await straight.until(
        'ta has read the day',
        async () => ((await straight.progress()).read ?? 0) >= total,
        LIMIT_MS,
      );
      expect((await straight.progress()).stored ?? 0).toBe(0);
      straight.start(['clickhouse']);
      await finished(straight, log, total);
      expect(straight.ends).toEqual([]);
      const rowsOfStraight = (await straight.progress()).stored as number;
      const counters = await straight.counters();
      const cpu = { ta: straight.cpuSeconds('ta'), sink: straight.cpuSeconds('sink') };
      const expected = await resultOf(straight, log);
      console.log(
        JSON.stringify({
          fed,
          cpu,
          peakResidentMb: Math.round(straight.peakResident / 1e6),
          bars: expected.bars.records,
          signals: expected.signals.records,
          late: expected.late.records,
          revisions: counters.revisions,
          duplicates: counters.duplicates,
        }),
      );
      await straight.stop();
      // Every kind of disorder left its trace.
      expect(counters.revisions).toBeGreaterThan(fed.late * 0.1);
      expect(counters.duplicates).toBeGreaterThan(fed.twice * 0.2);

      const registry = await startSchemaRegistry();
      closing.push(() => registry.stop());
      const killed = newRun('killed', { TA_SCHEMA_REGISTRY_URL: registry.url });
      killed.start();
      const hits = await killAtMoments(killed, kafka, { read: total, stored: rowsOfStraight });
      await finished(killed, log, total);
      console.log(
        JSON.stringify({ hits, ends: killed.ends.length, peakResidentMb: Math.round(killed.peakResident / 1e6) }),
      );
      expect(hits).toHaveLength(stretch.kills.ta + stretch.kills.sink + stretch.kills.broker);
      const again = await resultOf(killed, log, registry.url);
      expect(again.bars.records).toBe(expected.bars.records);
      expect(again.signals.records).toBe(expected.signals.records);
      expect(again.late.records).toBe(expected.late.records);
      for (const topic of ['bars', 'signals', 'late'] as const) {
        expect(differences(again[topic].byKey, expected[topic].byKey), topic).toEqual([]);
      }
      expect(expected.rows.size).toBeGreaterThan(1_000);
      expect(differences(again.rows, expected.rows), 'rows').toEqual([]);
    },
    LIMIT_MS * 3,
  );
});

/** The first keys that are not the same in both. */
function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key)).slice(0, 10);
}

interface Hit {
  victim: Victim;
  /** Share of the work that was done, and by how much it had moved since it was looked at before. */
  at: number;
  moved: number;
}

/** Kills each victim at seeded shares of its own work, while its counters move; a dead broker comes back after a while. */
async function killAtMoments(run: DayRun, kafka: KafkaServer, total: { read: number; stored: number }): Promise<Hit[]> {
  const random = seededRandom(seed + 1);
  const hits: Hit[] = [];
  let turn: Promise<void> = Promise.resolve();
  const killing = async (victim: Victim): Promise<void> => {
    const counter = victim === 'sink' ? 'stored' : 'read';
    const count = stretch.kills[victim];
    for (let i = 0; i < count; i++) {
      // One moment in each of `count` equal parts of the first nine tenths.
      const share = (0.9 * (i + 0.15 + 0.7 * random())) / count;
      let before: number | undefined;
      for (;;) {
        const now = (await run.progress())[counter];
        if (now !== undefined && before !== undefined && now > before && now >= share * total[counter]) {
          const hit = { victim, at: Number((now / total[counter]).toFixed(3)), moved: now - before };
          // One at a time: the next victim is looked for when this one is dead.
          const done = turn.then(() => strike(run, kafka, victim, random));
          turn = done;
          await done;
          expect(hit.at, `${victim} was killed before its end`).toBeLessThan(counter === 'read' ? 1 : 1.2);
          hits.push(hit);
          break;
        }
        if (now !== undefined) before = now;
        await delay(10);
      }
    }
  };
  await Promise.all([killing('ta'), killing('sink'), killing('broker')]);
  return hits;
}

async function strike(run: DayRun, kafka: KafkaServer, victim: Victim, random: () => number): Promise<void> {
  if (victim === 'broker') {
    await kafka.kill();
    await delay(500 + random() * (isFull ? 6_000 : 2_000));
    await kafka.restart();
  } else {
    await run.kill(victim);
  }
}
