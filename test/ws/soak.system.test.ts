/**
 * The recorded session at its own speed, cut off every 20 s for ten minutes (TORGHUT_TEST_FULL; a short, faster form otherwise),
 * on a real broker: every gap is repaired, every message is there once, and memory stays where it was.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { expectWhole } from './kafka-verdict.ts';
import { stretchOfDay } from './recorded.ts';
import { type RawMessage, Rig } from './rig.ts';

const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
const form = isFull ? { seconds: 600, everySeconds: 20, speed: 1 } : { seconds: 20, everySeconds: 3, speed: 5 };
const begin = '2013-10-08T13:30:00Z';
const startNs = BigInt(Date.parse(begin)) * 1_000_000n;
const second = 1_000_000_000n;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const residentMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024;

describe.skipIf(!process.env.TORGHUT_DATA)('soak (needs TORGHUT_DATA)', () => {
  test(
    'a disconnect every few seconds leaves no gap and no growing memory',
    async () => {
      const marketSeconds = form.seconds * form.speed;
      const end = new Date(Date.parse(begin) + marketSeconds * 1_000).toISOString();
      const lines = stretchOfDay(begin, end);
      const folder = mkdtempSync(join(tmpdir(), 'torghut-soak-'));
      closers.push(() => rmSync(folder, { recursive: true, force: true }));
      const data = join(folder, 'soak.ndjson.gz');
      writeFileSync(data, gzipSync(lines.map((line) => `${line}\n`).join('')));
      const kafka: KafkaServer = await startKafka();
      closers.push(() => kafka.stop());
      const of = new Rig({
        data: [data],
        startNs,
        symbols: ['AIG', 'BAC', 'IBM', 'SPY'],
        speed: form.speed,
        kafka: { bootstrap: kafka.bootstrap, name: 'soak' },
        env: { RECONNECT_MAX_MS: '500' },
      });
      closers.push(() => of.close());
      await of.startSimulator();
      of.startWs();
      await of.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
      of.run();
      const memory: number[] = [];
      let cuts = 0;
      for (let passed = form.everySeconds; passed < form.seconds; passed += form.everySeconds) {
        await delay(form.everySeconds * 1_000);
        await of.fault({ name: 'drop_mid_frame', count: 1 });
        cuts += 1;
        memory.push(residentMb(of.pid('ws')));
      }
      await of.untilMarket(startNs + BigInt(marketSeconds + 5) * second);
      await expectWhole(of, { raw: lines.map((line) => JSON.parse(line) as RawMessage) });
      const status = await of.wsStatus();
      expect(status?.gaps).toMatchObject({ open: 0, unrepaired: 0 });
      expect(status?.reconnects ?? 0).toBeGreaterThanOrEqual(cuts - 1);
      expect(of.wsEnds).toEqual([]);
      const third = Math.floor(memory.length / 3);
      const highest = (part: number[]) => Math.max(...part);
      const [middle, last] = [highest(memory.slice(third, -third)), highest(memory.slice(-third))];
      process.stdout.write(`soak: ${cuts} cuts, resident MB ${memory.map(Math.round).join(' ')}\n`);
      // The short form is over before the collector has settled: only the long one can tell growth.
      if (isFull) expect(last).toBeLessThan(middle * 1.1 + 10);
    },
    isFull ? 900_000 : 300_000,
  );
});
