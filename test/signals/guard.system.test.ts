/** `torghut clickhouse guard` and `disk` over replicas: one is the real engine, the other does not answer. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import * as diskCommand from '../../src/commands/clickhouse-disk.ts';
import { GuardState } from '../../src/daemons/store/guard.ts';
import { watchGuard } from '../../src/lib/signals/disk/guard-watch.ts';
import { type NodeReport, silentNode } from '../../src/lib/signals/disk/node-report.ts';
import { rowOfRecord } from '../../src/lib/signals/rows.ts';
import { migrateSignalStore } from '../../src/lib/signals/schema.ts';
import { createSignalWriter } from '../../src/lib/signals/writer.ts';
import { clientOf, type StoreProcess, startStore, until } from '../embedded/rig.ts';
import { freshHome, startTorghut } from '../support/torghut.ts';
import { runCommand } from './command.ts';
import { bar, logRecord, signal } from './records.ts';

const home = join(freshHome(), 'run');
const second = 1_381_239_001;
let store: StoreProcess;
let client: ClickHouseClient;

beforeAll(async () => {
  store = await startStore('clickhouse', home);
  client = clientOf(store.endpoint);
  await migrateSignalStore(client, { database: 'torghut', runId: 'r1', ttlDays: undefined });
  const writer = createSignalWriter({ client: async () => client, database: 'torghut' });
  const rows = [bar('MU', second), signal('MU', second + 1)];
  await writer.write(
    rows.map((output, i) => rowOfRecord(logRecord(output, 0, BigInt(i)), output.kind)),
    second * 1000,
  );
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await client.close();
  await store.stop();
});

const values = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line.startsWith('torghut_clickhouse_guardrails_'))
      .map((line) => [
        line.replace('torghut_clickhouse_guardrails_', '').replace(/ \S+$/, ''),
        Number(line.split(' ').at(-1)),
      ]),
  );

describe('torghut clickhouse guard', () => {
  test('exports the contract; a replica that goes keeps its values with up 0', async () => {
    const dead = '127.0.0.1:1';
    const live = new URL(store.endpoint.url).host;
    const guard = startTorghut(['clickhouse', 'guard', '--home', home, '--port', '0'], {
      CLICKHOUSE_URL: `${store.endpoint.url}/torghut`,
      CLICKHOUSE_USER: store.endpoint.user,
      CLICKHOUSE_PASSWORD: store.endpoint.password,
      TA_CLICKHOUSE_REPLICA_URLS: `${store.endpoint.url},http://${dead}`,
      SCRAPE_INTERVAL_SECONDS: '0.2',
    });
    try {
      const url = await until('the guard is announced', () => {
        try {
          return (JSON.parse(readFileSync(join(home, 'services', 'guard.json'), 'utf8')) as { url: string }).url;
        } catch {
          return undefined;
        }
      });
      const metrics = async () => values(await (await fetch(`${url}/metrics`)).text());
      const first = await until('the first look', async () => {
        const found = await metrics();
        return found.has(`clickhouse_up{replica="${live}"}`) ? found : undefined;
      });
      const of = (name: string, replica = live) => first.get(`${name}{replica="${replica}"}`);
      expect(of('clickhouse_up')).toBe(1);
      expect(of('clickhouse_up', dead)).toBe(0);
      expect(of('disk_free_bytes')).toBeGreaterThan(0);
      expect(of('disk_total_bytes')).toBeGreaterThan(of('disk_free_bytes') as number);
      expect(of('disk_free_ratio')).toBeCloseTo(
        (of('disk_free_bytes') as number) / (of('disk_total_bytes') as number),
        3,
      );
      expect(of('any_replica_readonly')).toBe(0);
      expect(of('ta_signals_max_event_ts_seconds')).toBe(second + 1);
      expect(of('ta_microbars_max_window_end_seconds')).toBe(second);
      expect(of('disk_level', dead), 'unknown counts as critical').toBe(2);
      expect(first.get(`freshness_low_memory_mode{replica="${live}",table="ta_signals"}`)).toBe(0);
      expect(first.get('freshness_fallback_total{table="ta_signals"}')).toBe(0);
      expect(first.get('last_scrape_success')).toBe(0);
      expect(first.get('last_scrape_ts_seconds')).toBeGreaterThan(1_700_000_000);
      expect(await (await fetch(`${url}/status`)).json()).toMatchObject({ level: expect.any(String), error: null });

      // Rows that cannot be read: the newest comes from the parts, and the counter says so.
      await client.command({ query: 'RENAME TABLE torghut.ta_signals TO torghut.elsewhere' });
      await until('it falls back', async () => {
        const count = (await metrics()).get('freshness_fallback_total{table="ta_signals"}') ?? 0;
        return count > 0;
      });
      await client.command({ query: 'RENAME TABLE torghut.elsewhere TO torghut.ta_signals' });
      const before = (await metrics()).get(`disk_total_bytes{replica="${live}"}`);
      await store.kill();
      const after = await until('it sees that the engine is gone', async () => {
        const found = await metrics();
        return found.get(`clickhouse_up{replica="${live}"}`) === 0 ? found : undefined;
      });
      expect(after.get(`disk_total_bytes{replica="${live}"}`)).toBe(before);
      expect(after.get(`ta_signals_max_event_ts_seconds{replica="${live}"}`)).toBe(second + 1);
    } finally {
      guard.child.kill('SIGTERM');
      expect((await guard.done).code).toBe(0);
      store = await startStore('clickhouse', home);
      await client.close();
      client = clientOf(store.endpoint);
    }
  }, 120_000);

  test('disk reports the replica that answers when another does not, and is unknown', async () => {
    vi.stubEnv('TA_CLICKHOUSE_URL', `${store.endpoint.url}/torghut`);
    vi.stubEnv('TA_CLICKHOUSE_USERNAME', store.endpoint.user ?? '');
    vi.stubEnv('TA_CLICKHOUSE_PASSWORD', store.endpoint.password ?? '');
    vi.stubEnv('TA_CLICKHOUSE_REPLICA_URLS', `${store.endpoint.url},http://127.0.0.1:1`);
    const ran = await runCommand(diskCommand, ['--home', home, '-o', 'json']);
    expect(ran).toMatchObject({ code: 13, error: undefined });
    const report = JSON.parse(ran.stdout);
    expect(report.nodes.map(({ error }: { error: string | null }) => error === null)).toEqual([true, false]);
    expect(report.disks).toHaveLength(1);
    expect(report.pipeline).toMatchObject({ trade: { state: 'not running in this home' } });
    expect(report.advice.map(({ id }: { id: string }) => id)).toContain('replica_silent');
    const person = await runCommand(diskCommand, ['--home', home]);
    expect(person.stdout).toContain('127.0.0.1:1  does not answer');
  });
});

describe('no new exposure', () => {
  const node = (level: NodeReport['level']): NodeReport => ({
    ...silentNode('a', ''),
    error: level === 'unknown' ? 'refused' : null,
    level,
    reasons: [`a is ${level}`],
  });

  test('holds from an emergency on until every replica answers and none is in one', () => {
    const state = new GuardState();
    const seen = (['ok', 'emergency', 'unknown', 'emergency', 'critical', 'ok'] as const).map((level) => {
      state.note([node(level)]);
      return state.noNewExposure;
    });
    expect(seen).toEqual([null, 'a is emergency', 'a is emergency', 'a is emergency', null, null]);
  });

  test('trade hears it from the guard, and hears nothing where nobody watches', async () => {
    const { createServer } = await import('node:http');
    let reason: string | null = 'free 3 %';
    const server = createServer((_request, response) => response.end(JSON.stringify({ no_new_exposure: reason })));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const ended = new AbortController();
    const watch = watchGuard(freshHome(), `http://127.0.0.1:${port}`, ended.signal);
    const alone = watchGuard(freshHome(), undefined, ended.signal);
    expect(watch.emergency()).toBeUndefined();
    await until('it is heard', () => watch.emergency() === 'free 3 %');
    reason = null;
    await until('it is over', () => watch.emergency() === undefined);
    expect(alone.emergency()).toBeUndefined();
    ended.abort();
    server.close();
  });
});
