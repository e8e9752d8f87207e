/**
 * Pause, replay and the end of a live run, killed in every step: what is begun is gone on with by the same words, and ends with
 * the same rows.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { until } from '../embedded/rig.ts';
import { feedRecords, progressRecords } from './feed.ts';
import { OPEN, randomMarket } from './fixtures.ts';
import { LiveRun } from './live-run.ts';

const seed = Number(process.env.TORGHUT_TEST_SEED ?? 20_131_008);
const symbols = ['AIG', 'BAC', 'IBM', 'SPY', 'TSLA'];
const seconds = 60;
const at = (second: number) => new Date((OPEN + second) * 1_000).toISOString();
/** The columns that say where and when a row was made differ between runs. */
const facts = 'SELECT * EXCEPT (ingest_ts, run_id, src_partition, src_offset, stored_at) FROM';

let live: LiveRun | undefined;

afterEach(async () => {
  await live?.close();
  live = undefined;
});

/** A live run that has computed and stored a minute, and twenty quiet ones after it. */
async function settledRun(): Promise<LiveRun> {
  live = await LiveRun.open();
  const market = feedRecords(randomMarket(seed, seconds, 5, symbols), seed);
  const lastMs = market.at(-1)?.atMs ?? 0;
  const quiet = Array.from({ length: 30 }, (_, i) => progressRecords(lastMs + 1_000 + i * 60_000)).flat();
  await live.write([...market, ...quiet]);
  const endMs = quiet.at(-1)?.atMs ?? 0;
  live.clock.setCeiling(BigInt(endMs) * 1_000_000n);
  live.clock.setSpeed(1_000_000);
  await until('the clock is there', () => (live as LiveRun).clock.nowMs() >= endMs, 30_000);
  live.clock.setSpeed(0);
  live.start('engine');
  live.start('sink');
  await live.untilStored(endMs - 65_000);
  return live;
}

const bars = (run: LiveRun) => run.hash(`${facts} ta_microbars FINAL`);
const signals = (run: LiveRun) => run.hash(`${facts} ta_signals FINAL`);

/** Runs a command that is to be killed at each point in turn. */
async function killedAt(run: LiveRun, args: readonly string[], points: readonly string[]): Promise<void> {
  for (const point of points) {
    const finished = await run.command(args, { TORGHUT_CRASH_AT: point });
    expect(finished.signal, `${point}: ${finished.code} ${finished.stderr}`).toBe('SIGKILL');
  }
}

describe(`ta operated on (seed ${seed})`, () => {
  it('pause holds over a kill -9 and a restart, loses nothing, and names itself in the status', async () => {
    const run = await settledRun();
    const before = [await bars(run), await signals(run)];
    const pause = await run.json(['ta', 'pause', '--reason', 'the disk', '--yes', '--wait']);
    expect(pause, pause.stderr).toMatchObject({
      code: 0,
      value: { applied: true, engine: expect.stringContaining('the disk') },
    });
    expect(pause.stderr).toContain('goes on: ws writes trades');
    expect(await run.json(['ta', 'pause', '--reason', 'again', '--yes'])).toMatchObject({
      code: 0,
      value: { applied: false },
    });
    await run.kill('engine');
    await run.kill('sink');
    run.start('engine');
    run.start('sink');
    await until(
      'both are back',
      async () => (await run.status('engine'))?.phase === 'paused' && (await run.status('sink'))?.is_paused,
      30_000,
    );
    expect((await run.status('engine'))?.tasks).toEqual([]);
    const status = await run.json(['ta', 'status']);
    expect(status.code).toBe(10);
    expect((status.value.findings as { code: string }[]).map(({ code }) => code)).toEqual(['paused', 'sink_paused']);

    const more = feedRecords(randomMarket(seed + 1, 20, 5, symbols), seed + 1).map(({ atMs, record }) => ({
      atMs,
      record,
    }));
    const shiftedMs = run.clock.nowMs();
    await run.write(
      more
        .filter(({ record }) => record.key === null)
        .map(({ atMs, record }) => ({
          atMs,
          record: { ...record, timestampMs: Math.max(record.timestampMs, shiftedMs) },
        })),
    );
    expect([await bars(run), await signals(run)]).toEqual(before);
    const resume = await run.json(['ta', 'resume', '--reason', 'space', '--yes', '--wait']);
    expect(resume).toMatchObject({ code: 0, value: { engine: 'runs', sink: 'runs' } });
    await until('everything is right', async () => (await run.json(['ta', 'verify'])).code === 0, 60_000);
  });

  it('a replay killed in every step is gone on with, promoted, rolled back and discarded to the same rows', async () => {
    const run = await settledRun();
    const replay = (action: string, ...more: string[]) => [
      'ta',
      'replay',
      action,
      '--replay-id',
      'k1',
      '--reason',
      'test',
      '--yes',
      ...more,
    ];
    const window = ['--from', at(20), '--to', at(50)];
    const open = await run.json([
      'ta',
      'replay',
      'plan',
      '--replay-id',
      'k1',
      '--from',
      at(20),
      '--to',
      '2013-10-08T23:00:00Z',
    ]);
    expect(open.code).toBe(10);
    expect(open.value.replay_feasibility).toMatchObject({
      admission: false,
      required_actions: [{ block: 'window_open' }],
    });
    await expect(run.json(replay('run', '--from', at(20), '--to', '2013-10-08T23:00:00Z'))).rejects.toThrow(
      'replay_refused',
    );

    // Who meant to go on must not begin something else.
    await expect(run.json(replay('run'))).rejects.toThrow('replay_not_begun');

    await killedAt(run, replay('run', ...window), [
      'replay.created',
      'replay.seeded',
      'replay.computing#2',
      'replay.computed',
    ]);
    const status = await run.json(['ta', 'replay', 'status', '--replay-id', 'k1']);
    expect(status.value).toMatchObject([{ step: 'computed' }]);
    const sides = ['--left', 'clickhouse', '--right', 'clickhouse:torghut_replay_k1'];
    const diff = await run.json(['ta', 'diff', ...sides, '--from', at(20), '--to', at(50)]);
    expect(diff, JSON.stringify(diff.value)).toMatchObject({ code: 0, value: { verdict: 'equal' } });
    // Nothing of the warm-up was given out.
    const [first] = await run.rows<{ t: string }>(
      'SELECT toString(toUnixTimestamp(min(event_ts))) AS t FROM torghut_replay_k1.ta_microbars',
    );
    expect(Number(first?.t)).toBeGreaterThan(OPEN + 20);
    await expect(run.json(replay('run', ...window))).rejects.toThrow('replay_step');
    const used = await run.json(['ta', 'replay', 'plan', '--replay-id', 'k1', ...window]);
    expect(used.value.replay_feasibility).toMatchObject({ required_actions: [{ block: 'replay_id_used' }] });

    // A fault that the promote mends and the roll back brings again.
    const where = `symbol = 'SPY' AND event_ts = (SELECT min(event_ts) FROM ta_microbars WHERE symbol = 'SPY' AND event_ts > toDateTime64(${OPEN + 30}, 3, 'UTC'))`;
    const right = [await bars(run), await signals(run)];
    await run.client.command({
      query: `ALTER TABLE ta_microbars UPDATE c = c + 1 WHERE ${where}`,
      clickhouse_settings: { mutations_sync: '2' },
    });
    const wrong = [await bars(run), await signals(run)];
    expect(wrong[0]).not.toBe(right[0]);
    expect((await run.json(['ta', 'pause', '--only', 'sink', '--reason', 'swap', '--yes', '--wait'])).code).toBe(0);
    await killedAt(run, replay('promote'), [
      'replay.saving',
      'replay.saved',
      'replay.staged',
      'replay.swapped#2',
      'replay.promoted',
    ]);
    expect([await bars(run), await signals(run)]).toEqual(right);
    await killedAt(run, replay('rollback'), ['replay.swapped', 'replay.rolled_back']);
    expect([await bars(run), await signals(run)]).toEqual(wrong);
    expect((await run.json(replay('promote'))).value).toMatchObject({ step: 'promoted' });
    expect([await bars(run), await signals(run)]).toEqual(right);
    expect((await run.json(replay('rollback'))).value).toMatchObject({ step: 'rolled_back' });
    await killedAt(run, replay('discard'), ['replay.discarding']);
    expect((await run.json(replay('discard'))).value).toMatchObject({ applied: true });
    expect((await run.json(['ta', 'replay', 'status'])).value).toEqual([]);
    expect((await run.feed.log.describeGroups()).filter(({ groupId }) => groupId.includes('replay'))).toEqual([]);
  });

  it.each(['m1t', 'm3'])(
    '%s ends the live run, killed in every step, and the new run computes the same rows',
    async (method) => {
      const run = await settledRun();
      const right = [await bars(run), await signals(run)];
      const log = await run.hash('SELECT * FROM ta_signal_log');
      const ask = ['--replay-id', 'e1', '--method', method, ...(method === 'm1t' ? ['--from', at(30)] : [])];
      const blocked = await run.json(['ta', 'replay', 'plan', ...ask]);
      const blocks = (blocked.value.replay_feasibility as { required_actions: { block: string }[] }).required_actions;
      expect(blocks.map(({ block }) => block)).toEqual(['session_open', 'ta_running']);
      await run.kill('engine', 'SIGTERM');
      await run.kill('sink', 'SIGTERM');
      const plan = await run.json(['ta', 'replay', 'plan', ...ask, '--during-session']);
      expect(plan, JSON.stringify(plan.value)).toMatchObject({
        code: 0,
        value: { drops: [{ day: '2013-10-08' }, { day: '2013-10-08' }] },
      });
      const act = ['ta', 'replay', 'run', ...ask, '--during-session', '--reason', 'test'];
      await expect(run.json([...act, '--yes'])).rejects.toThrow('confirmation_needed');
      const points =
        method === 'm1t'
          ? ['replay.kept', 'replay.dropping', 'replay.dropped', 'replay.emptied', 'replay.reseeded', 'replay.recorded']
          : ['replay.dropping'];
      await killedAt(run, [...act, '--confirm', String(plan.value.plan_id)], points);
      expect(await run.json(act)).toMatchObject({
        code: 0,
        value: { step: 'handed_over', next: expect.stringContaining('replay-e1') },
      });
      const [left] = await run.rows<{ t: string }>(
        'SELECT toString(toUnixTimestamp(max(event_ts))) AS t FROM ta_microbars',
      );
      expect(Number(left?.t)).toBe(method === 'm1t' ? OPEN + 30 : 0);
      expect(await run.hash('SELECT * FROM ta_signal_log')).toBe(log);

      run.runId = 'replay-e1';
      run.start('engine');
      run.start('sink');
      await run.untilStored(run.clock.nowMs() - 65_000);
      expect([await bars(run), await signals(run)]).toEqual(right);
      const runs = await run.rows<{ run_id: string }>('SELECT DISTINCT run_id FROM ta_microbars FINAL ORDER BY run_id');
      expect(runs.map(({ run_id }) => run_id)).toEqual(method === 'm1t' ? ['replay-e1', 'test'] : ['replay-e1']);
    },
  );
});
