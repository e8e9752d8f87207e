/** `ws status` against a running ws, its simulator and its embedded log: healthy, refused by 406, gone. */
import { afterEach, expect, test } from 'vitest';
import { askWs } from '../../src/daemons/ws/status-client.ts';
import { watchStatus } from '../../src/daemons/ws/status-command.ts';
import { reportStatus } from '../../src/daemons/ws/status-report.ts';
import { openKubectl } from '../../src/lib/cluster/kubectl.ts';
import { deploymentOf, KubeApi, runningPod, SECRET_VALUE, secretOf } from '../cluster/api-server.ts';
import { Rig } from './rig.ts';

const startNs = BigInt(Date.parse('2026-03-10T13:29:30Z')) * 1_000_000n;
const symbols = ['NVDA', 'AMD'];
const topics = ['torghut.trades.v1', 'torghut.quotes.v1', 'torghut.bars.1m.v1', 'torghut.status.v1'];

let rig: Rig;
afterEach(() => rig.close());

async function start(): Promise<void> {
  const simulatorArgs = ['--synthetic', '7', '--symbols', symbols.join(',')];
  rig = new Rig({ data: [], startNs, symbols, speed: 30, simulatorArgs });
  await rig.startSimulator();
}

test('waits for health, shows the newest records with their age; then names the connection limit; then nobody answers', async () => {
  await start();
  const waiting = watchStatus({ home: rig.home, env: {}, waitMs: 30_000 });
  rig.startWs();
  await rig.until('ready', ({ state }) => state === 'ready');
  rig.run();
  const ready = await waiting;
  expect(ready).toMatchObject({ healthy: true, exit_code: 0, error_class: null });

  await rig.untilMarket(startNs + 160_000_000_000n);
  const inSession = await watchStatus({ home: rig.home, env: {}, waitMs: 0 });
  expect(inSession.checks.map(({ check }) => check)).toEqual(['S2', 'S3', 'S4', 'S5', 'S6', 'S7']);
  expect(inSession).toMatchObject({ healthy: true, exit_code: 0 });
  const newest = new Map(inSession.topics?.map((item) => [item.topic, item]));
  for (const topic of topics) expect(newest.has(topic)).toBe(true);
  expect(newest.get('torghut.trades.v1')?.record_age_ms).toBeLessThan(60_000);
  expect(newest.get('torghut.trades.v1')?.record_age_ms).toBeGreaterThanOrEqual(0);

  // A ws known by its address alone: its log is not at hand.
  const { url } = await askWs({ home: rig.home });
  const remote = await watchStatus({ home: `${rig.home}-other`, url, env: {}, waitMs: 0 });
  expect(remote.topics).toBeNull();
  expect(remote.checks.at(-2)).toMatchObject({ check: 'S6', result: 'skipped' });

  await rig.fault({ name: 'connection_406', count: 1 });
  await rig.fault({ name: 'drop_mid_frame', count: 1 });
  await rig.until('refused', ({ state }) => state === 'blocked');
  expect(await watchStatus({ home: rig.home, env: {}, waitMs: 0 })).toMatchObject({
    healthy: false,
    exit_code: 10,
    error_class: 'alpaca_406_second_connection',
    gates: { alpaca_ws: false },
  });

  await rig.kill('ws');
  await expect(watchStatus({ home: rig.home, env: {}, waitMs: 300 })).rejects.toMatchObject({
    code: 'ws_unreachable',
    exitCode: 2,
  });
}, 60_000);

test('each error class has its exit code, and the rest is undetermined', async () => {
  await start();
  rig.startWs();
  await rig.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
  const facts = await askWs({ home: rig.home });
  const codeOf = (change: Partial<typeof facts.readiness>, healthz = 200) =>
    reportStatus({ ...facts, healthz, readiness: { ...facts.readiness, ...change } }, undefined, topics).exit_code;
  expect(codeOf({})).toBe(0);
  for (const [errorClass, code] of [
    ['alpaca_406_second_connection', 10],
    ['alpaca_auth', 11],
    ['alpaca_auth_timeout', 11],
    ['alpaca_entitlement', 12],
    ['kafka_auth', 13],
    ['kafka_metadata', 14],
    ['kafka_produce', 15],
    ['backpressure', 15],
    ['market_data_channel_starvation', 16],
    ['symbols_empty', 17],
    ['connection_lost', 20],
    ['gap_open', 20],
  ] as const) {
    expect(codeOf({ ready: false, error_class: errorClass })).toBe(code);
  }
  expect(codeOf({ ready: false, error_class: 'connecting' }, 503)).toBe(18);
  const stream = { ...facts.readiness.alpaca_market_data_ws };
  stream.missing_subscription_symbols_by_channel = { quotes: ['AMD'] };
  expect(codeOf({ degraded: true, alpaca_market_data_ws: stream })).toBe(12);
}, 60_000);

test('a cluster adds replicas, pods and secrets; what is wrong there has its exit code', async () => {
  const api = new KubeApi();
  await api.start();
  try {
    await start();
    rig.startWs();
    await rig.until('ready', ({ state, gaps }) => state === 'ready' && gaps.open === 0);
    api.objects = [
      deploymentOf('torghut-ws', 'torghut', ['ws']),
      runningPod('torghut-ws', 'torghut', 'torghut-ws-1'),
      secretOf('torghut-alpaca', 'torghut'),
      secretOf('torghut-ws', 'torghut'),
    ];
    api.endpoints.set('torghut-ws-1', (await askWs({ home: rig.home })).url);
    const kubectl = openKubectl({ namespace: 'torghut', env: { ...process.env, ...api.env } });
    const ask = () => watchStatus({ home: `${rig.home}-other`, env: {}, waitMs: 0, kubectl });
    const well = await ask();
    expect(well.checks.map(({ check }) => check)).toEqual(['S1', 'S2', 'S3', 'S4', 'S5', 'S6', 'S7']);
    expect(well).toMatchObject({ healthy: true, exit_code: 0 });
    expect(JSON.stringify(well)).not.toContain(SECRET_VALUE);

    const pod = api.find('Pod', 'torghut-ws-1')?.status as { containerStatuses: Record<string, unknown>[] };
    const finishedAt = new Date(Date.now() - 60_000).toISOString();
    Object.assign(pod.containerStatuses[0] as object, {
      lastState: { terminated: { reason: 'OOMKilled', finishedAt } },
    });
    expect(await ask()).toMatchObject({ healthy: false, exit_code: 18 });
    api.objects.push(runningPod('torghut-ws', 'torghut', 'torghut-ws-2'));
    expect(await ask()).toMatchObject({ healthy: false, exit_code: 10 });
    api.objects = api.objects.filter(
      ({ kind, metadata }) =>
        metadata.name !== 'torghut-ws-2' && !(kind === 'Secret' && metadata.name === 'torghut-ws'),
    );
    Object.assign(pod.containerStatuses[0] as object, { lastState: {} });
    const missing = await ask();
    expect(missing).toMatchObject({ healthy: false, exit_code: 13 });
    expect(missing.checks.at(-1)?.detail).toContain('torghut-ws is missing');
  } finally {
    await api.close();
  }
}, 60_000);
