/** kubectl as our way to a cluster: the unmodified program against a small API server; what it says when it fails. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keyMark } from '../../src/lib/cluster/holders.ts';
import { openKubectl } from '../../src/lib/cluster/kubectl.ts';
import { defaultPlace, readCluster } from '../../src/lib/cluster/ws-deployment.ts';
import { deploymentOf, KubeApi, runningPod, SECRET_VALUE, secretOf, templateWithKeys } from './api-server.ts';

const api = new KubeApi();
const kubectl = () => openKubectl({ namespace: 'torghut', env: { ...process.env, ...api.env } });
beforeAll(() => api.start());
afterAll(() => api.close());
beforeEach(() => {
  api.forbidden = undefined;
  api.objects = [
    deploymentOf('torghut-ws', 'torghut', ['ws']),
    deploymentOf('torghut', 'torghut', ['trade']),
    deploymentOf('notebook', 'research', ['jupyter']),
    { ...deploymentOf('asleep', 'research', ['jupyter']), spec: { replicas: 0, template: templateWithKeys(['x']) } },
    runningPod('torghut-ws', 'torghut', 'torghut-ws-1'),
    secretOf('torghut-alpaca', 'torghut'),
  ];
});

describe('the forwarder as a cluster shows it', () => {
  test('deployment, pods, holders of the key and secrets, by name and age alone', async () => {
    const facts = await readCluster(kubectl(), defaultPlace, undefined);
    expect(facts).toMatchObject({
      exists: true, replicas: 1, ready: 1, rollout: false, strategy: 'Recreate', port: 8080, unread: [],
      pods: [{ name: 'torghut-ws-1', phase: 'Running', ready: true, restarts: 0, is_terminating: false }],
      secrets: [
        { name: 'torghut-alpaca', exists: true, created_at: '2026-01-05T10:00:00Z' },
        { name: 'torghut-ws', exists: false, created_at: null },
      ],
    }); // biome-ignore format: one list
    expect(
      facts.holders?.map(({ name, is_active, opens_market_data }) => [name, is_active, opens_market_data]),
    ).toEqual([
      ['torghut', true, false],
      ['notebook', true, true],
      ['asleep', false, true],
    ]);
    const text = JSON.stringify(facts);
    expect(text).not.toContain(SECRET_VALUE);
    expect(text).not.toContain(Buffer.from(SECRET_VALUE).toString('base64').slice(0, 12));
  });

  test('a key written out in an environment is found by its mark, and not shown', async () => {
    const template = { spec: { containers: [{ name: 'a', env: [{ name: 'ALPACA_KEY_ID', value: 'AK-OPEN' }] }] } };
    api.objects.push({ ...deploymentOf('loose', 'other', []), spec: { replicas: 1, template } });
    const facts = await readCluster(kubectl(), defaultPlace, keyMark('AK-OPEN'));
    expect(facts.holders?.find(({ name }) => name === 'loose')).toMatchObject({ by: 'key_id', is_active: true });
    expect(JSON.stringify(facts)).not.toContain('AK-OPEN');
  });

  test('what may not be read is said, and the rest is read', async () => {
    api.forbidden = /statefulsets/;
    const facts = await readCluster(kubectl(), defaultPlace, undefined);
    expect(facts.holders).toBeUndefined();
    expect(facts.unread.join()).toMatch(/other holders of the key: cluster_forbidden/);
    expect(facts.pods).toHaveLength(1);
  });

  test('a missing deployment is a fact, not an error', async () => {
    api.objects = [];
    expect(await readCluster(kubectl(), defaultPlace, undefined)).toMatchObject({
      exists: false,
      replicas: 0,
      pods: [],
    });
  });
});

describe('what kubectl says when it fails', () => {
  test('no program, no cluster, no right, no object: four codes', async () => {
    const none = openKubectl({ namespace: 'x', program: 'kubectl-that-is-not-there' });
    await expect(none.text(['get', 'pods'])).rejects.toMatchObject({ code: 'kubectl_missing', exitCode: 3 });
    const away = openKubectl({ namespace: 'x', env: { ...process.env, KUBECONFIG: '/dev/null' }, timeoutMs: 5_000 });
    await expect(away.text(['get', 'pods'])).rejects.toMatchObject({ code: 'cluster_unreachable', exitCode: 3 });
    api.forbidden = /pods/;
    await expect(kubectl().text(['get', 'pods'])).rejects.toMatchObject({ code: 'cluster_forbidden', exitCode: 3 });
    await expect(kubectl().text(['get', 'secret', 'x'])).rejects.toMatchObject({
      code: 'cluster_object_missing',
      exitCode: 3,
    });
  });

  test('our own keys are not in its environment, nor in the line shown', async () => {
    const env = { ...process.env, ...api.env, APCA_API_SECRET_KEY: 'very-secret', KUBECTL: 'env' };
    const printed = await openKubectl({ namespace: 'x', env })
      .text([])
      .catch((error: Error) => error.message);
    expect(printed).not.toContain('very-secret');
    expect(kubectl().line(['patch', 'x', '-p', '{"a":1}'])).toBe(`kubectl patch x -p '{"a":1}' --namespace torghut`);
  });
});
