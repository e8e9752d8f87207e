/**
 * The runbook's ten cases, staged with real parts: ws and its simulator, a real Kafka with SASL, kubectl against an API server.
 * Each situation is asked twice, as text and as JSON; neither may show a key.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RESTART_ANNOTATION } from '../../src/lib/cluster/ws-deployment.ts';
import { deploymentOf, KubeApi, runningPod, SECRET_VALUE, secretOf } from '../cluster/api-server.ts';
import { type KafkaServer, startKafka } from '../support/kafka-server.ts';
import { startTorghut, torghut } from '../support/torghut.ts';
import { Rig, type RigOptions } from './rig.ts';

const startNs = BigInt(Date.parse('2026-03-10T13:29:30Z')) * 1_000_000n;
const SECRETS = [
  'SIM-TEST',
  'SIM-TEST-SECRET',
  SECRET_VALUE,
  Buffer.from(SECRET_VALUE).toString('base64').slice(0, 16),
];

interface Diagnosis {
  case: string | null;
  exit_code: number;
  finding: string;
  certainty: string;
  evidence: { step: number; looked_at: string; found: string; verdict: string }[];
  commands: string[];
  diff: string[];
  plan_id: string | null;
}

const rigs: Rig[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(rigs.splice(0).map((rig) => rig.close()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newRig(options: Partial<RigOptions> = {}): Rig {
  const simulatorArgs = ['--synthetic', '7', '--symbols', 'NVDA,AMD', ...(options.simulatorArgs ?? [])];
  const rig = new Rig({ data: [], startNs, symbols: ['NVDA', 'AMD'], speed: 30, ...options, simulatorArgs });
  rigs.push(rig);
  return rig;
}

/** Asks as text and as JSON; both must name the same case with the same exit code and no key. */
async function diagnose(args: string[], env: NodeJS.ProcessEnv = {}): Promise<Diagnosis> {
  const [text, json] = await Promise.all([
    torghut(['ws', 'diagnose-406', ...args], env),
    torghut(['ws', 'diagnose-406', ...args, '-o', 'json'], env),
  ]);
  const all = [text, json].map(({ stdout, stderr }) => stdout + stderr).join();
  for (const secret of SECRETS) expect(all.replaceAll(/SIM-TEST-(?!SECRET)/g, ''), all).not.toContain(secret);
  let found: Diagnosis;
  try {
    found = JSON.parse(json.stdout) as Diagnosis;
  } catch {
    throw new Error(`no JSON: ${json.stdout}${json.stderr}`);
  }
  expect(json.code, all).toBe(found.exit_code);
  expect(text.code, all).toBe(found.exit_code);
  if (found.case !== null) expect(text.stdout).toMatch(new RegExp(`^Case ${found.case}[ ,(]`, 'm'));
  expect(text.stdout).toContain(found.finding);
  return found;
}

const api = new KubeApi();
beforeAll(() => api.start());
afterAll(() => api.close());
beforeEach(() => {
  api.endpoints.clear();
  api.logs.clear();
  api.changes.length = 0;
  api.objects = [
    deploymentOf('torghut-ws', 'torghut', ['ws']),
    deploymentOf('torghut', 'torghut', ['trade']),
    runningPod('torghut-ws', 'torghut', 'torghut-ws-1'),
    secretOf('torghut-alpaca', 'torghut'),
    secretOf('torghut-ws', 'torghut'),
  ];
});

const urlOf = (rig: Rig) =>
  (JSON.parse(readFileSync(join(rig.home, 'services', 'ws.json'), 'utf8')) as { url: string }).url;
const inCluster = (...args: string[]) => diagnose(['--cluster', ...args], api.env);

describe('who holds the slot', () => {
  test('B: another forwarder of this machine; in a cluster another workload, then nobody that can be seen. A: an extra pod', async () => {
    const root = mkdtempSync(join(tmpdir(), 'torghut-diagnose-'));
    folders.push(root);
    const first = newRig({ home: join(root, 'runs', 'first') });
    await first.startSimulator();
    first.startWs();
    await first.until('ready', ({ state }) => state === 'ready');
    const env = { TORGHUT_HOME: root };
    expect(await diagnose(['--home', first.home], env)).toMatchObject({ case: null, exit_code: 0 });

    const second = newRig({ home: join(root, 'runs', 'second') });
    second.simulatorPort = first.simulatorPort;
    second.startWs();
    await second.until('refused', ({ state }) => state === 'blocked');
    const local = await diagnose(['--home', second.home], env);
    expect(local).toMatchObject({ case: 'B', exit_code: 10, certainty: 'certain' });
    expect(local.evidence.find(({ step, verdict }) => step === 4 && verdict === 'problem')?.found).toContain('first');

    // The same ws, seen through a cluster.
    api.endpoints.set('torghut-ws-1', urlOf(second));
    const alone = await inCluster();
    expect(alone).toMatchObject({ case: 'B', exit_code: 10, certainty: 'likely' });
    api.objects.push(deploymentOf('notebook', 'research', ['jupyter']));
    const foreign = await inCluster();
    expect(foreign).toMatchObject({ case: 'B', exit_code: 10, certainty: 'certain', commands: [] });
    expect(foreign.finding).toContain('Deployment research/notebook');

    Object.assign(api.find('Deployment', 'torghut-ws')?.spec as object, { replicas: 2 });
    const extra = runningPod('torghut-ws', 'torghut', 'torghut-ws-2');
    extra.metadata.deletionTimestamp = '2026-03-10T14:00:00Z';
    api.objects.push(extra);
    const replicas = await inCluster();
    expect(replicas).toMatchObject({ case: 'A', exit_code: 10 });
    expect(replicas.commands).toEqual(['kubectl scale deployment/torghut-ws --replicas=1 --namespace torghut']);

    // In Git by default, with its comments; in the cluster only where asked for; never without consent.
    const manifests = join(root, 'manifests');
    mkdirSync(manifests);
    const manifest = 'kind: Deployment\nmetadata:\n  name: torghut-ws # ours\nspec:\n  replicas: 2 # one too many\n';
    writeFileSync(join(manifests, 'ws.yaml'), manifest);
    const args = ['ws', 'diagnose-406', '--cluster', '-o', 'json'];
    const planned = await inCluster('--gitops', manifests, '--dry-run');
    expect(planned.diff).toEqual(['-  replicas: 2 # one too many', '+  replicas: 1 # one too many']);
    expect((await torghut([...args, '--gitops', manifests], api.env)).code).toBe(4);
    expect((await torghut([...args, '--gitops', manifests, '--confirm', '000000000000'], api.env)).code).toBe(4);
    expect(readFileSync(join(manifests, 'ws.yaml'), 'utf8')).toBe(manifest);
    const home = ['--home', root];
    const made = await torghut([...args, ...home, '--gitops', manifests, '--confirm', planned.plan_id ?? ''], api.env);
    expect(made.code, made.stderr).toBe(0);
    expect(readFileSync(join(manifests, 'ws.yaml'), 'utf8')).toContain('replicas: 1 # one too many');
    expect(api.changes).toEqual([]);
    const applied = await torghut([...args, ...home, '--apply', '--yes'], api.env);
    expect(applied.stderr).toContain('the next sync may revert this');
    expect(api.changes.map(({ patch }) => patch)).toEqual([{ spec: { replicas: 1 } }]);
    expect(readFileSync(join(root, 'journal', 'ws-diagnose-406.ndjson'), 'utf8')).toContain('"result":"done"');
  });

  test('C: a slot that a cut connection still holds; one controlled restart, and no second one within 15 minutes', async () => {
    const rig = newRig({ simulatorArgs: ['--ghost-seconds', '600'] });
    await rig.startSimulator();
    rig.startWs();
    await rig.until('ready', ({ state }) => state === 'ready');
    rig.run();
    await rig.fault({ name: 'drop_mid_frame', count: 1 });
    await rig.until('refused', ({ state }) => state === 'blocked');
    const found = await diagnose(['--home', rig.home]);
    expect(found).toMatchObject({ case: 'C', exit_code: 10, commands: [] });
    expectNoSecretIn(rig);

    // A pod that was killed leaves the same slot behind.
    api.endpoints.set('torghut-ws-1', urlOf(rig));
    const pod = api.find('Pod', 'torghut-ws-1')?.status as { containerStatuses: Record<string, unknown>[] };
    const finishedAt = new Date(Date.now() - 150_000).toISOString();
    Object.assign(pod.containerStatuses[0] as object, {
      restartCount: 1,
      lastState: { terminated: { reason: 'Error', exitCode: 137, finishedAt } },
    });
    const zombie = await inCluster();
    expect(zombie).toMatchObject({ case: 'C', exit_code: 10 });
    // Waiting is the cure as long as the cut is fresh: --apply changes nothing and says so.
    const waits = await torghut(['ws', 'diagnose-406', '--cluster', '--apply', '--yes'], api.env);
    expect([waits.code, waits.stderr]).toEqual([10, expect.stringContaining('nothing is changed')]);
    expect(api.changes).toEqual([]);
  });
});

/** Nothing that a run leaves behind holds its secret: logs, topics, spool, state. */
function expectNoSecretIn(rig: Rig): void {
  expect(rig.stderr.ws).not.toContain('SIM-TEST-SECRET');
  const files = readdirSync(rig.home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  for (const { parentPath, name } of files) {
    expect(readFileSync(join(parentPath, name)).includes('SIM-TEST-SECRET'), name).toBe(false);
  }
}

describe('credentials', () => {
  test('D: refused everywhere', async () => {
    const rig = newRig({ simulatorArgs: ['--key', 'SIM-OTHER'], env: { SIMULATOR_SECRET: 'another-secret' } });
    await rig.startSimulator();
    rig.startWs();
    await rig.until('refused', ({ state }) => state === 'blocked');
    const found = await diagnose(['--home', rig.home, '--probe']);
    expect(found).toMatchObject({ case: 'D', exit_code: 11, certainty: 'certain' });
    expect(found.evidence.filter(({ step }) => step === 6).map(({ verdict }) => verdict)).toEqual(
      Array(3).fill('problem'),
    );
    expectNoSecretIn(rig);
  });

  test('E: good for REST, refused by the stream', async () => {
    const rig = newRig();
    await rig.startSimulator();
    await rig.fault({ name: 'auth_402', path: '/v2/sip' });
    rig.startWs();
    await rig.until('refused', ({ state }) => state === 'blocked');
    expect(await diagnose(['--home', rig.home])).toMatchObject({ case: 'E', exit_code: 11, certainty: 'likely' });
    expect(await diagnose(['--home', rig.home, '--probe'])).toMatchObject({
      case: 'E',
      exit_code: 11,
      certainty: 'certain',
    });
  });
});

test('F: the plan grants fewer symbols than are wanted', async () => {
  const symbols = Array.from({ length: 16 }, (_, i) => `S${String.fromCharCode(65 + i)}`);
  const rig = newRig({
    symbols,
    simulatorArgs: ['--plan', 'free'],
    env: { ALPACA_FEED: 'iex', ALPACA_SYMBOL_LIMIT: '0', SUBSCRIBE_BATCH_SIZE: '5' },
  });
  await rig.startSimulator();
  rig.startWs();
  await rig.until('degraded', ({ state }) => state === 'degraded');
  const found = await diagnose(['--home', rig.home]);
  expect(found).toMatchObject({ case: 'F', exit_code: 12, finding: 'the plan grants fewer symbols than are wanted' });
  expect(found.evidence.find(({ looked_at }) => looked_at.startsWith('symbols over'))?.found).toContain('32 wanted');
});

describe('the log', () => {
  let kafka: KafkaServer;
  const user = { user: 'torghut-ws', password: 'kafka-password-of-ws' };
  beforeAll(async () => {
    kafka = await startKafka(user);
  });
  afterAll(() => kafka?.stop());
  const env = (password: string) => ({
    KAFKA_BOOTSTRAP: kafka.bootstrap,
    KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT',
    KAFKA_SASL_USER: user.user,
    KAFKA_SASL_PASSWORD: password,
    KAFKA_REQUEST_TIMEOUT_MS: '2000',
    KAFKA_TRANSACTION_TIMEOUT_MS: '2000',
  });

  test('G: Kafka refuses the password; H: the broker is gone', async () => {
    const rig = newRig({ env: env(user.password) });
    await rig.startSimulator();
    // Refused at the start: what the pod leaves is its log.
    const refused = startTorghut(['ws', '--home', mkdtempSync(join(tmpdir(), 'torghut-ws-g-')), '--port', '0'], {
      ...env('wrong-password-of-ws'),
      APCA_API_KEY_ID: 'SIM-TEST',
      APCA_API_SECRET_KEY: 'SIM-TEST-SECRET',
      SYMBOLS: 'NVDA',
    });
    rig.startWs();
    await rig.until('ready', ({ state }) => state === 'ready', 120_000);
    const { stderr, code } = await refused.done;
    expect(code, stderr).toBe(3);
    expect(stderr).not.toContain('wrong-password-of-ws');
    api.logs.set('torghut-ws-1', stderr);
    const pod = api.find('Pod', 'torghut-ws-1')?.status as { containerStatuses: Record<string, unknown>[] };
    Object.assign(pod.containerStatuses[0] as object, {
      ready: false,
      state: { waiting: { reason: 'CrashLoopBackOff' } },
    });
    expect(await inCluster()).toMatchObject({ case: 'G', exit_code: 13 });

    await kafka.kill();
    const url = urlOf(rig);
    for (let tries = 0; tries < 300; tries++) {
      const { gates } = (await (await fetch(`${url}/readyz`)).json()) as { gates: { kafka: boolean } };
      if (!gates.kafka) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const found = await diagnose(['--url', url]);
    expect(found.case).toBe('H');
    expect([14, 15]).toContain(found.exit_code);
  });
});

test('I: the session runs and most symbols are silent', async () => {
  const symbols = ['NVDA', 'QUIET', 'STILL'];
  const rig = newRig({ symbols, speed: 60 });
  await rig.startSimulator();
  rig.startWs();
  await rig.until('ready', ({ state }) => state === 'ready');
  rig.run();
  await rig.untilMarket(startNs + 400_000_000_000n);
  await rig.until('no gap', ({ gaps }) => gaps.open === 0);
  const found = await diagnose(['--home', rig.home]);
  expect(found).toMatchObject({ case: 'I', exit_code: 16 });
  expect(found.evidence.find(({ looked_at }) => looked_at === 'channel trades')?.found).toContain('2 of 3 silent');
});

test('J: the pod runs out of memory again and again', async () => {
  const pod = api.find('Pod', 'torghut-ws-1')?.status as { containerStatuses: Record<string, unknown>[] };
  Object.assign(pod.containerStatuses[0] as object, {
    ready: false,
    restartCount: 4,
    state: { waiting: { reason: 'CrashLoopBackOff' } },
    lastState: {
      terminated: { reason: 'OOMKilled', exitCode: 137, finishedAt: new Date(Date.now() - 60_000).toISOString() },
    },
  });
  const found = await inCluster();
  expect(found).toMatchObject({ case: 'J', exit_code: 18, finding: 'ws runs out of memory' });
  expect(found.evidence.find(({ looked_at }) => looked_at === 'limits of the container')?.found).toContain(
    'memory 1Gi',
  );
});

test('the controlled restart: to 0, no pod, a pause, to 1; refused within 15 minutes; interrupted it still wants one', async () => {
  const { makeChange, planChange } = await import('../../src/daemons/ws/diagnosis/change.ts');
  const { openKubectl } = await import('../../src/lib/cluster/kubectl.ts');
  const { readCluster, defaultPlace } = await import('../../src/lib/cluster/ws-deployment.ts');
  const { systemClock } = await import('../../src/lib/service/clock.ts');
  const kubectl = openKubectl({ namespace: 'torghut', env: { ...process.env, ...api.env } });
  const decision = { case: 'C' as const, certainty: 'certain' as const, finding: '', exitCode: 10, evidence: [] };
  const clock = systemClock();
  const plan = async () => {
    const cluster = await readCluster(kubectl, defaultPlace, undefined);
    return { cluster, plan: planChange('restart', { decision, cluster, kubectl, gitops: undefined, clock }) };
  };
  const replicasWanted = () => api.changes.map(({ patch }) => (patch as { spec: { replicas: number } }).spec.replicas);
  const lines: string[] = [];
  const run = async (signal: AbortSignal, settleMs: number) => {
    const planned = await plan();
    await makeChange(planned.plan, {
      ...planned,
      kubectl,
      clock,
      settleMs,
      signal,
      tell: (line) => void lines.push(line),
    });
  };
  await run(new AbortController().signal, 50);
  expect(replicasWanted()).toEqual([0, 1]);
  expect(api.find('Pod', 'torghut-ws-new')).toBeDefined();
  expect(lines.at(-1)).toBe('1 replica wanted');
  await expect(plan()).rejects.toMatchObject({ code: 'restart_too_soon', exitCode: 4 });

  const annotations = api.find('Deployment', 'torghut-ws')?.metadata.annotations as Record<string, string>;
  annotations[RESTART_ANNOTATION] = '2026-01-01T00:00:00Z';
  api.changes.length = 0;
  const stop = new AbortController();
  const interrupted = run(stop.signal, 600_000);
  while (api.changes.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  stop.abort();
  await interrupted;
  expect(replicasWanted()).toEqual([0, 1]);
});
