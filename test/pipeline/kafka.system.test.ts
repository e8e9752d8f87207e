/**
 * The daemons on a real broker, over recorded trades and quotes: for every symbol and second the stored bar equals the raw file,
 * also when ta, ws and the broker die by kill -9 in the middle.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { type OracleTotals, readOracle } from '../up/oracle.ts';
import { dataFile, expectBars, expectPublishedSeconds, storedBars } from '../up/verdict.ts';
import { KafkaPipeline } from './kafka-pipeline.ts';

const second = 1_000_000_000n;
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;
const file = 'smoke.ndjson.gz';
const endOfFile = '2013-10-08T13:32:00Z';

describe.skipIf(!process.env.TORGHUT_DATA)('the daemons on Kafka (needs TORGHUT_DATA)', () => {
  let pipeline: KafkaPipeline | undefined;

  afterEach(async () => {
    await pipeline?.stop();
    pipeline = undefined;
  });

  async function begin(): Promise<{ pipeline: KafkaPipeline; oracle: OracleTotals }> {
    const oracle = await readOracle([dataFile(file)]);
    const symbols = [...new Set([...oracle.seconds.keys()].map((key) => key.split(' ')[0] as string))];
    pipeline = new KafkaPipeline({ data: [dataFile(file)], symbols, startNs });
    await pipeline.start();
    return { pipeline, oracle };
  }

  /** Lets market time run out, waits until every position is at its end, and compares what is stored. */
  async function finish(of: KafkaPipeline, oracle: OracleTotals): Promise<void> {
    await of.untilMarket(startNs + 120n * second);
    of.clock.setSpeed(20);
    await of.untilMarket(startNs + 230n * second);
    of.clock.setSpeed(1);
    await of.until('everything sent is acknowledged', async () => {
      const ws = await of.status('ws');
      const done = (ws?.acknowledged ?? {}) as Record<string, number>;
      const { open } = (ws?.gaps ?? { open: 1 }) as { open: number };
      return done.trades === oracle.trades && done.quotes === oracle.quotes && open === 0 && ws?.queued === 0;
    });
    const log = await of.openLog();
    try {
      const inputs = [defaultTopics.trades, defaultTopics.quotes, defaultTopics.bars];
      const ends = new Map<string, Map<number, bigint>>();
      for (const topic of inputs) ends.set(topic, await of.lastOffsets(log, topic));
      await of.until('ta has merged every input', async () => {
        const tasks = await of.tasks();
        return inputs.every((topic) =>
          [...(ends.get(topic) as Map<number, bigint>)].every(([partition, last]) => {
            const task = tasks.find((found) => found.partition === partition);
            return (
              BigInt(task?.positions[topic] ?? 0) > last && Date.parse(task?.watermark ?? '') > Date.parse(endOfFile)
            );
          }),
        );
      });
      for (const topic of [defaultTopics.taBars, defaultTopics.taSignals]) {
        const last = await of.lastOffsets(log, topic);
        expect(last.size, topic).toBeGreaterThan(0);
        await of.until(`the sink has stored ${topic}`, async () => {
          const positions = ((await of.status('sink'))?.positions ?? {}) as Record<string, Record<string, string>>;
          return [...last].every(([partition, offset]) => BigInt(positions[topic]?.[partition] ?? 0) > offset);
        });
      }
    } finally {
      await log.close();
    }
    const stored = await storedBars(of.home);
    expectBars(stored, oracle);
    expect(expectPublishedSeconds(stored, endOfFile)).toBe(oracle.seconds.size);
  }

  /** What an operator does, on a broker: a pause held over a kill -9, and a replay from plan to discard. */
  async function operate(of: KafkaPipeline): Promise<void> {
    const why = ['--reason', 'test', '--yes'];
    expect(await of.command(['ta', 'pause', ...why, '--wait'])).toMatchObject({ code: 0, value: { applied: true } });
    await of.kill('ta');
    await of.until('ta is back and paused', async () => (await of.status('ta'))?.phase === 'paused');
    of.ends.length = 0;
    expect(await of.command(['ta', 'resume', ...why, '--wait'])).toMatchObject({ code: 0, value: { engine: 'runs' } });

    // Twenty quiet minutes settle the window.
    of.clock.setSpeed(100);
    await of.untilMarket(startNs + 1_420n * second);
    of.clock.setSpeed(1);
    const window = ['--replay-id', 'k-1', '--from', '2013-10-08T13:30:00Z', '--to', endOfFile];
    const plan = () => of.command(['ta', 'replay', 'plan', ...window]);
    let planned = await plan();
    for (let tries = 0; planned.code !== 0 && tries < 5; tries++) planned = await plan();
    expect(planned.value.replay_feasibility, JSON.stringify(planned.value)).toMatchObject({ admission: true });
    const done = await of.command(['ta', 'replay', 'run', ...window, ...why]);
    const same = { only_left: 0, only_right: 0, different: 0 };
    expect(done, JSON.stringify(done.value)).toMatchObject({ code: 0, value: same });
    const { compared } = done.value as { compared: { bars: number } };
    expect(compared.bars).toBeGreaterThan(250);
    const verified = await of.command(['ta', 'verify', '--to', endOfFile]);
    expect(verified, JSON.stringify(verified.value)).toMatchObject({ code: 0, value: { verdict: 'equal' } });
    expect((await of.command(['ta', 'pause', '--only', 'sink', ...why, '--wait'])).code).toBe(0);
    const act = async (action: string) => of.command(['ta', 'replay', action, '--replay-id', 'k-1', ...why]);
    expect((await act('promote')).value).toMatchObject({ step: 'promoted' });
    expect((await act('rollback')).value).toMatchObject({ step: 'rolled_back' });
    expect((await of.command(['ta', 'resume', ...why, '--wait'])).code).toBe(0);
    expect((await act('discard')).code).toBe(0);
    const log = await of.openLog();
    try {
      expect((await log.describeTopics()).filter(({ name }) => name.includes('replay'))).toEqual([]);
      expect((await log.describeGroups()).filter(({ groupId }) => groupId.includes('replay'))).toEqual([]);
    } finally {
      await log.close();
    }
  }

  test('the stored bars equal the raw file', async () => {
    const { pipeline: of, oracle } = await begin();
    of.clock.setSpeed(20);
    await finish(of, oracle);
    expect(of.ends).toEqual([]);
    await operate(of);
    expect(of.ends).toEqual([]);
  }, 480_000);

  test('kill -9 of ta, of ws and of the broker in the middle loses no trade and doubles none', async () => {
    const { pipeline: of, oracle } = await begin();
    of.clock.setSpeed(5);
    await of.untilMarket(startNs + 20n * second);
    await of.kill('ta');
    await of.untilMarket(startNs + 50n * second);
    await of.kill('ws');
    await of.untilMarket(startNs + 80n * second);
    await of.kafka.kill();
    // Longer than a transaction may last: ws and the tasks lose their transactions.
    await delay(7_000);
    await of.kafka.restart();
    await finish(of, oracle);
    // ws outlives its broker: the only end of it is the one that the test made.
    expect(of.ends.filter(({ name }) => name === 'ws')).toEqual([{ name: 'ws', code: null, signal: 'SIGKILL' }]);
    const killed = of.ends.filter(({ signal }) => signal === 'SIGKILL');
    expect(killed.map(({ name }) => name)).toEqual(['ta', 'ws']);
  }, 300_000);
});
