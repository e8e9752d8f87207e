/**
 * ws on a real broker that goes away: it goes on reading into its spool, survives in the process, and what it drains is the raw
 * file, once each. One broker for the whole file.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { expectWhole } from './kafka-verdict.ts';
import { Rig, readRaw } from './rig.ts';

const folder = process.env.TORGHUT_DATA;
const smoke = join(folder ?? '', 'us-equities-2013-10-08', 'smoke.ndjson.gz');
const second = 1_000_000_000n;
const startNs = BigInt(Date.parse('2013-10-08T13:30:00Z')) * 1_000_000n;

let kafka: KafkaServer;
let rig: Rig | undefined;
let count = 0;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});

const newRig = (options: Partial<ConstructorParameters<typeof Rig>[0]> = {}) => {
  count += 1;
  rig = new Rig({
    data: [smoke],
    startNs,
    symbols: ['AIG', 'BAC', 'IBM', 'SPY'],
    speed: 20,
    kafka: { bootstrap: kafka.bootstrap, name: `t${count}` },
    ...options,
    env: { KAFKA_TRANSACTION_TIMEOUT_MS: '2000', KAFKA_REQUEST_TIMEOUT_MS: '2000', ...options.env },
  });
  return rig;
};

describe.skipIf(!folder)('a broker that goes away (needs TORGHUT_DATA)', () => {
  beforeAll(async () => {
    kafka = await startKafka();
  });
  afterAll(async () => {
    await kafka?.stop();
  });

  test('kill -9 of the broker, for longer than a transaction may last: ws survives it in the process', async () => {
    const of = newRig({ speed: 10 });
    await of.startSimulator();
    of.startWs();
    await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    const pid = of.pid('ws');
    of.run();
    await of.untilMarket(startNs + 20n * second);
    await kafka.kill();
    const before = await of.wsStatus();
    await delay(5_000);
    const during = await of.wsStatus();
    await kafka.restart();
    await of.untilMarket(startNs + 125n * second);
    await expectWhole(of, { raw: readRaw(smoke) });
    expect(of.wsEnds).toEqual([]);
    expect(of.pid('ws')).toBe(pid);
    // Reading never stopped, and what could not be committed waited on disk.
    expect(during?.received.trades ?? 0).toBeGreaterThan(before?.received.trades ?? 0);
    expect(during?.spooled_bytes ?? 0).toBeGreaterThan(0);
    expect(of.stderr.ws).toContain('by a new transaction');
  });
});
