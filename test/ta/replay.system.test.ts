/**
 * `torghut ta pause|resume|replay` beside a live run: recorded data, then killed in every step. The hour is shortened to the two
 * minutes of the smoke file unless TORGHUT_TEST_FULL is set.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { findService } from '../../src/lib/service/home.ts';
import { createSignalReader } from '../../src/lib/signals/reader.ts';
import { decodeProviderMessage, type MarketEvent } from '../../src/lib/ta/index.ts';
import { until } from '../embedded/rig.ts';
import { startTorghut, torghut } from '../support/torghut.ts';
import { envelopeOf, type FeedRecord, partitions, progressRecords } from './feed.ts';
import { OPEN } from './fixtures.ts';
import { LiveRun } from './live-run.ts';

const isFull = Boolean(process.env.TORGHUT_TEST_FULL);
const windowSeconds = isFull ? 3_600 : 120;
const openMs = OPEN * 1_000;
const closeMs = openMs + windowSeconds * 1_000;
const [from, to] = [new Date(openMs).toISOString(), new Date(closeMs).toISOString()];
/** Market ms after which nothing of the window can change. */
const reachMs = 1_200_000;

let live: LiveRun | undefined;
let isFeeding = false;
let feeding: Promise<void> = Promise.resolve();

afterEach(async () => {
  isFeeding = false;
  await feeding;
  await live?.close();
  live = undefined;
});

function recorded(): MarketEvent[] {
  const folder = join(process.env.TORGHUT_DATA as string, 'us-equities-2013-10-08');
  return (isFull ? ['trades.ndjson.gz', 'quotes.ndjson.gz'] : ['smoke.ndjson.gz']).flatMap((file) => {
    const path = join(folder, file);
    if (!existsSync(path)) throw new Error(`TORGHUT_DATA is set but ${file} is missing`);
    const events: MarketEvent[] = [];
    for (const [i, line] of gunzipSync(readFileSync(path)).toString().trimEnd().split('\n').entries()) {
      const event = decodeProviderMessage(JSON.parse(line), i);
      if (typeof event === 'string' || event.kind === 'progress' || event.sec >= closeMs / 1_000) continue;
      events.push(event);
    }
    return events;
  });
}

/** As ws writes them, stamped with their own time plus a shift; progress in every partition each 250 ms. */
function asFed(events: readonly MarketEvent[], shiftMs: number, untilMs: number): FeedRecord[] {
  const records = events.map((event): FeedRecord => {
    const atMs = event.sec * 1_000 + Math.floor(event.nano / 1_000_000) + shiftMs;
    const shifted = { ...event, sec: event.sec + shiftMs / 1_000, id: 'id' in event ? event.id + shiftMs / 1_000 : 0 };
    const { text } = envelopeOf(shifted as MarketEvent);
    const topic = defaultTopics[event.kind === 'quote' ? 'quotes' : event.kind === 'bar' ? 'bars' : 'trades'];
    return { atMs, record: { topic, key: event.symbol, value: Buffer.from(text), timestampMs: atMs } };
  });
  for (let ms = openMs + shiftMs; ms <= untilMs; ms += 250) records.push(...progressRecords(ms));
  return records.sort((a, b) => a.atMs - b.atMs);
}

const quiet = (fromMs: number, untilMs: number): FeedRecord[] => {
  const records: FeedRecord[] = [];
  for (let ms = fromMs; ms <= untilMs; ms += 15_000) records.push(...progressRecords(ms));
  return records;
};

const numbers = (value: Record<string, unknown>) =>
  value as unknown as {
    only_left: number;
    only_right: number;
    different: number;
    compared: { bars: number; signals_1s: number; signals_1m: number };
  };

describe.skipIf(!process.env.TORGHUT_DATA)('a replay beside the live run (needs TORGHUT_DATA)', () => {
  it(
    'leaves the live lag under 5 s, equals the live rows, is promoted over a fault, rolled back, and never reaches trade',
    async () => {
      live = await LiveRun.open();
      const run = live;
      const events = recorded();
      const liveFromMs = closeMs + reachMs + 120_000;
      const shiftMs = liveFromMs - openMs;
      run.clock.setCeiling(undefined);
      await run.write([...asFed(events, 0, closeMs), ...quiet(closeMs + 1_000, liveFromMs - 30_000)]);
      run.start('engine');
      run.start('sink');
      await run.untilStored(closeMs + reachMs);

      // The same tape once more, now as it happens: one market second takes one second.
      const jump = Number((BigInt(liveFromMs) * 1_000_000n - run.clock.nowNs()) / 1_000_000_000n);
      run.clock.setSpeed(jump * 2);
      await until('the clock is there', () => run.clock.nowMs() >= liveFromMs, 30_000);
      run.clock.setSpeed(1);
      const tape = asFed(events, shiftMs, closeMs + shiftMs);
      const lags: number[] = [];
      let fed = tape.findIndex(({ atMs }) => atMs > run.clock.nowMs());
      await run.write(tape.slice(0, fed));
      isFeeding = true;
      feeding = (async () => {
        while (isFeeding && fed < tape.length) {
          const now = run.clock.nowMs();
          const begin = fed;
          while (fed < tape.length && (tape[fed] as FeedRecord).atMs <= now) fed += 1;
          if (fed > begin) await run.write(tape.slice(begin, fed));
          await new Promise((resolve) => setTimeout(resolve, 25));
        }
      })();
      const isLive = async () => {
        const newest = (await run.status('sink'))?.newest_event_ts;
        return newest !== null && newest !== undefined && run.clock.nowMs() - Date.parse(newest) < 3_000;
      };
      await until('live rows flow', isLive, 60_000);

      const replay = ['ta', 'replay'];
      const window = ['--replay-id', 'hour-1', '--from', from, '--to', to];
      const plan = await run.json([...replay, 'plan', ...window]);
      expect(plan.code, plan.stderr + JSON.stringify(plan.value)).toBe(0);
      expect(plan.value.replay_feasibility).toMatchObject({
        admission: true,
        non_destructive_replay_admission: true,
        status: 'admitted',
        required_actions: [],
      });
      await expect(
        run.json([...replay, 'run', ...window, '--reason', 'test', '--confirm', '000000000000']),
      ).rejects.toThrow('plan_changed');

      let isMeasuring = true;
      const measuring = (async () => {
        while (isMeasuring) {
          const newest = (await run.status('sink'))?.newest_event_ts;
          if (newest) lags.push(run.clock.nowMs() - Date.parse(newest));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })();
      const done = await run.json([
        ...replay,
        'run',
        ...window,
        '--reason',
        'test',
        '--confirm',
        String(plan.value.plan_id),
      ]);
      isMeasuring = false;
      await measuring;
      expect(done.code, done.stderr).toBe(0);
      expect(fed, 'the live tape went on all the time').toBeLessThan(tape.length);
      expect(lags.length).toBeGreaterThan(5);
      expect(Math.max(...lags), `live lags ${lags.join(' ')}`).toBeLessThan(5_000);
      expect(done.value).toMatchObject({
        step: 'computed',
        only_left: 0,
        only_right: 0,
        different: 0,
        first_difference: null,
      });
      expect(numbers(done.value).compared.bars).toBeGreaterThan(isFull ? 8_000 : 250);
      // It began where the plan says, not where some group stood (spec H1).
      for (const { topic, partition, start } of plan.value.inputs as {
        topic: string;
        partition: number;
        start: string;
      }[])
        expect((done.value.first_offsets as Record<string, string>)[`${topic}/${partition}`]).toBe(start);

      const sides = ['--left', 'clickhouse', '--right', 'clickhouse:torghut_replay_hour_1', '--from', from, '--to', to];
      expect(await run.json(['ta', 'diff', ...sides])).toMatchObject({ code: 0, value: { verdict: 'equal' } });

      // A fault in the live store: one wrong price, one lost bar.
      const symbol = 'SPY';
      const at = (seconds: number) => `symbol = '${symbol}' AND event_ts = toDateTime64(${OPEN + seconds}, 3, 'UTC')`;
      const alter = (query: string) => run.client.command({ query, clickhouse_settings: { mutations_sync: '2' } });
      await alter(`ALTER TABLE ta_microbars UPDATE c = c + 1 WHERE ${at(30)}`);
      await alter(`ALTER TABLE ta_microbars DELETE WHERE ${at(40)}`);
      const broken = await run.json(['ta', 'diff', ...sides]);
      expect(numbers(broken.value)).toMatchObject({ different: 1, only_right: 1, only_left: 0 });

      const log = () => run.hash('SELECT * FROM ta_signal_log');
      const outside = () =>
        run.hash(`SELECT * FROM ta_microbars FINAL WHERE event_ts > toDateTime64(${closeMs / 1_000}, 3, 'UTC')`);
      const signals = createSignalReader({
        client: async () => run.client,
        database: 'torghut',
        runId: 'test',
        partitions,
      });
      const positions = (['PT1S', 'PT1M'] as const).flatMap((windowSize) =>
        Array.from({ length: partitions }, (_, partition) => ({ windowSize, partition, from: 0n })),
      );

      const swap = [...replay, 'promote', '--replay-id', 'hour-1', '--reason', 'test', '--yes'];
      await expect(run.json(swap)).rejects.toThrow('ta pause --only sink');
      const paused = await run.json(['ta', 'pause', '--only', 'sink', '--reason', 'promoting', '--yes', '--wait']);
      expect(paused).toMatchObject({
        code: 0,
        value: { applied: true, sink: expect.stringContaining('promoting'), engine: 'runs' },
      });
      const [logBefore, outsideBefore] = [await log(), await outside()];
      const seenBefore = await signals.read(positions, 100_000);
      const promoted = await run.json(swap);
      expect(promoted, promoted.stderr).toMatchObject({ code: 0, value: { step: 'promoted', applied: true } });
      expect(await run.json(['ta', 'diff', ...sides])).toMatchObject({ code: 0, value: { verdict: 'equal' } });
      const runs = await run.rows<{ run_id: string; inside: boolean; n: string }>(
        `SELECT run_id, event_ts > toDateTime64(${openMs / 1_000}, 3, 'UTC') AND event_ts <= toDateTime64(${closeMs / 1_000}, 3, 'UTC') AS inside, count() AS n FROM ta_microbars FINAL GROUP BY ALL ORDER BY inside`,
      );
      expect(runs.map(({ run_id, inside }) => [run_id, Boolean(Number(inside))])).toEqual([
        ['test', false],
        ['replay-hour-1', true],
      ]);
      expect(await outside()).toBe(outsideBefore);
      const newest =
        'SELECT symbol, window_size, max(event_ts) AS event_ts FROM ta_signals GROUP BY symbol, window_size';
      expect(await run.hash('SELECT symbol, window_size, event_ts FROM v_ta_latest')).toBe(await run.hash(newest));

      // Trade reads by run and source offset: what it is given has not changed by a row.
      expect(await log()).toBe(logBefore);
      expect(await signals.read(positions, 100_000)).toEqual(seenBefore);
      expect(seenBefore.length).toBeGreaterThan(250);
      const prices = await signals.newestPrices([symbol], run.clock.nowMs(), 300_000);
      expect(prices.get(symbol)?.asOfMs ?? 0).toBeGreaterThan(closeMs);

      const back = await run.json([...replay, 'rollback', '--replay-id', 'hour-1', '--reason', 'test', '--yes']);
      expect(back).toMatchObject({ code: 0, value: { step: 'rolled_back' } });
      expect(numbers((await run.json(['ta', 'diff', ...sides])).value)).toMatchObject({
        different: 1,
        only_right: 1,
        only_left: 0,
      });
      expect(await outside()).toBe(outsideBefore);
      expect((await run.json(swap)).code).toBe(0);

      // The sink goes on where it stopped, into the very days that were swapped, and everything is as the log says.
      expect((await run.json(['ta', 'resume', '--reason', 'promoted', '--yes', '--wait'])).code).toBe(0);
      isFeeding = false;
      await feeding;
      const lastMs = (tape[fed - 1] as FeedRecord).atMs;
      await run.write(quiet(lastMs + 1_000, lastMs + 120_000));
      await run.untilStored(lastMs + 60_000);
      const verified = await run.json(['ta', 'verify']);
      expect(verified, JSON.stringify(verified.value)).toMatchObject({ code: 0, value: { verdict: 'equal' } });

      await expect(
        run.json([...replay, 'discard', '--replay-id', 'hour-1', '--reason', 'test', '--yes']),
      ).rejects.toThrow('confirmation_needed');
      const dry = await run.json([...replay, 'discard', '--replay-id', 'hour-1', '--dry-run']);
      const discarded = await run.json([
        ...replay,
        'discard',
        '--replay-id',
        'hour-1',
        '--reason',
        'test',
        '--confirm',
        String(dry.value.plan_id),
      ]);
      expect(discarded).toMatchObject({ code: 0, value: { applied: true } });
      expect(await run.rows("SELECT name FROM system.databases WHERE name LIKE 'torghut_replay%'")).toEqual([]);
      expect((await run.feed.log.describeTopics()).filter(({ name }) => name.includes('replay'))).toEqual([]);
      expect((await run.json(['ta', 'verify'])).code).toBe(0);
    },
    isFull ? 900_000 : 240_000,
  );

  it('m5 fetches what the log does not hold: killed while it fetches, it ends with the rows of the bare core', async () => {
    live = await LiveRun.open();
    const run = live;
    const data = join(process.env.TORGHUT_DATA as string, 'us-equities-2013-10-08', 'smoke.ndjson.gz');
    run.start('engine');
    run.start('sink');
    run.clock.setSpeed(100_000);
    await until('the clock is there', () => run.clock.nowMs() > openMs + 2 * reachMs, 30_000);
    run.clock.setSpeed(1);
    const simulator = startTorghut(
      ['simulator', '--data', data, '--port', '0', '--home', run.feed.home, '-o', 'json'],
      run.env(),
    );
    try {
      const url = await until('the simulator serves', () => findService(run.feed.home, 'simulator')?.url, 60_000);
      await until('the sink serves', async () => (await run.status('sink')) !== undefined, 60_000);
      const keys = {
        APCA_API_KEY_ID: 'SIM-M5',
        APCA_API_SECRET_KEY: 'SIM-M5-SECRET',
        ALPACA_BASE_URL: url,
        ALPACA_FEED: 'sip',
      };
      const symbols = [...new Set(recordedSymbols(data))].join(',');
      const window = ['--from', from, '--to', new Date(openMs + 120_000).toISOString()];
      const ask = ['--replay-id', 'm5-1', '--method', 'm5', ...window, '--symbols', symbols];
      expect((await run.json(['ta', 'replay', 'plan', ...ask])).value.replay_feasibility).toMatchObject({
        required_actions: [{ block: 'market_data_keys' }],
      });
      const act = ['ta', 'replay', 'run', ...ask, '--reason', 'test', '--yes'];
      const killed = await run.command(act, { ...keys, TORGHUT_CRASH_AT: 'replay.collecting#3' });
      expect(killed.signal, killed.stderr).toBe('SIGKILL');
      const done = await run.json(act, keys);
      expect(done, done.stderr).toMatchObject({ code: 0, value: { step: 'computed' } });
      const computed = join(run.feed.home, 'computed.ndjson');
      writeFileSync(computed, (await torghut(['ta', 'compute', '--data', data])).stdout);
      const sides = ['--left', 'clickhouse:torghut_replay_m5_1', '--right', computed, '--values-only', ...window];
      const diff = await run.json(['ta', 'diff', ...sides, '--data', data]);
      // The file has no minute bars, which the simulator's REST makes of its trades: those signals are only in the replay.
      const { compared, ...found } = numbers(diff.value);
      expect(compared.signals_1m).toBeGreaterThan(0);
      expect(found, JSON.stringify(diff.value)).toMatchObject({
        different: 0,
        only_right: 0,
        only_left: compared.signals_1m,
      });
      expect(compared.bars).toBeGreaterThan(250);
    } finally {
      simulator.child.kill('SIGKILL');
      await simulator.done;
    }
  }, 240_000);
});

function recordedSymbols(path: string): string[] {
  const lines = gunzipSync(readFileSync(path)).toString().trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { S: string }).S);
}
