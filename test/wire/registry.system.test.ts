/** Avro on the ta topics with a real schema registry: what is registered, what is refused, and both forms through the sink's reader. */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { NewRecord } from '../../src/lib/log/port.ts';
import { defaultTopics } from '../../src/lib/log/topics.ts';
import { barRecord, signalRecord } from '../../src/lib/ta/index.ts';
import { openTaEncoder, type TaEncoder } from '../../src/lib/wire/ta-encoder.ts';
import { type TaRecordKind, taSchemas } from '../../src/lib/wire/ta-schemas.ts';
import { isFramed, type RegistrySettings, TaDecoder } from '../../src/lib/wire/ta-wire.ts';
import { type SchemaRegistryServer, startSchemaRegistry } from '../support/schema-registry.ts';
import { freshHome, startTorghut } from '../support/torghut.ts';
import { feedRecords, openFeed, partitions } from '../ta/feed.ts';
import { inOrder, randomMarket, runAll } from '../ta/fixtures.ts';

let registry: SchemaRegistryServer | undefined;

beforeAll(async () => {
  registry = await startSchemaRegistry();
});
afterAll(() => registry?.stop());

const settings = (more: Partial<RegistrySettings> = {}): RegistrySettings => ({
  TA_SCHEMA_REGISTRY_URL: registry?.url,
  TA_SCHEMA_REGISTRY_USER: undefined,
  TA_SCHEMA_REGISTRY_PASSWORD: undefined,
  TA_SCHEMA_AUTO_REGISTER: true,
  ...more,
});

const topicsOf = (name: string) =>
  new Map<string, TaRecordKind>([
    [`${name}.bars`, 'bar'],
    [`${name}.signals`, 'signal'],
    [`${name}.status`, 'status'],
  ]);

const ask = async (path: string) => (await fetch(`${registry?.url}${path}`)).json() as Promise<unknown>;

async function send(method: string, path: string, body: unknown): Promise<void> {
  const response = await fetch(`${registry?.url}${path}`, {
    method,
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`the registry refused: ${await response.text()}`);
}

const publish = (subject: string, schema: unknown): Promise<void> =>
  send('POST', `/subjects/${subject}/versions`, { schema: JSON.stringify(schema) });

function outputs(name: string): NewRecord[] {
  const { outputs: all } = runAll(inOrder(randomMarket(3, 130, 6)));
  return all.flatMap((output): NewRecord[] => {
    if (output.kind === 'late') return [];
    const text =
      output.kind === 'bar'
        ? barRecord(output, '2013-10-08T13:30:01.000Z', 'r')
        : signalRecord(output, '2013-10-08T13:30:01.000Z', 'r');
    const topic = `${name}.${output.kind === 'bar' ? 'bars' : 'signals'}`;
    return [{ topic, key: output.symbol, value: Buffer.from(text), timestampMs: output.end * 1_000 }];
  });
}

describe('with a schema registry', () => {
  test('the schemas of all three topics are registered, once, and every record comes back as it was', async () => {
    const encoder = await openTaEncoder(settings(), topicsOf('one'));
    await openTaEncoder(settings(), topicsOf('one'));
    expect(await ask('/subjects')).toEqual(
      expect.arrayContaining(['one.bars-value', 'one.signals-value', 'one.status-value']),
    );
    expect(await ask('/subjects/one.bars-value/versions')).toEqual([1]);
    const latest = (await ask('/subjects/one.signals-value/versions/latest')) as { id: number; schema: string };
    expect(JSON.parse(latest.schema)).toEqual(taSchemas.signal);

    const json = outputs('one');
    const state: NewRecord = { topic: 'one.state', key: 'task', value: Buffer.from('{}'), timestampMs: 0 };
    const framed = encoder?.encode([...json, state]) ?? [];
    expect(framed).toHaveLength(json.length + 1);
    expect(json.length).toBeGreaterThan(400);
    // What is no output stays as it is.
    expect(framed.at(-1)).toBe(state);
    const decoder = new TaDecoder(settings());
    let bytes = 0;
    for (const [i, record] of json.entries()) {
      const avro = framed[i] as NewRecord;
      expect(isFramed(avro.value)).toBe(true);
      bytes += avro.value?.length ?? 0;
      const back = await decoder.toJson({ topic: avro.topic, value: avro.value });
      expect(JSON.parse(String(back.value))).toEqual(JSON.parse(String(record.value)));
      const same = { topic: record.topic, value: record.value };
      expect(await decoder.toJson(same)).toBe(same);
    }
    const signal = framed.find(({ topic }) => topic === 'one.signals') as NewRecord;
    expect(signal.value?.readInt32BE(1)).toBe(latest.id);
    // It is what Avro is for.
    expect(bytes).toBeLessThan(json.reduce((sum, { value }) => sum + (value?.length ?? 0), 0) / 2);
  });

  test('an older version of the schema is gone on from, and its records are read with defaults', async () => {
    const bar = taSchemas.bar as { fields: { name: string }[] };
    const old = { ...bar, fields: bar.fields.filter(({ name }) => !['revision', 'is_flat'].includes(name)) };
    await publish('two.bars-value', old);
    // A subject without a rule is not written to.
    await expect(openTaEncoder(settings(), topicsOf('two'))).rejects.toMatchObject({
      code: 'schema_rule',
      exitCode: 4,
    });
    await send('PUT', '/config/two.bars-value', { compatibility: 'BACKWARD' });
    const encoder = await openTaEncoder(settings(), topicsOf('two'));
    expect(await ask('/subjects/two.bars-value/versions')).toEqual([1, 2]);
    const record = outputs('two').find(({ topic }) => topic === 'two.bars') as NewRecord;
    const [framed] = encoder?.encode([record]) ?? [];
    const decoder = new TaDecoder(settings());
    const back = await decoder.toJson({ topic: record.topic, value: framed?.value ?? null });
    expect(JSON.parse(String(back.value))).toEqual(JSON.parse(String(record.value)));
  });

  test('a schema that this version cannot read ends the start, whatever the registry would allow', async () => {
    const signal = taSchemas.signal as { fields: { name: string; type: unknown }[] };
    const other = signal.fields.map((field) => (field.name === 'n_bars' ? { name: 'n_bars', type: 'string' } : field));
    await publish('three.signals-value', { ...signal, fields: other });
    await expect(openTaEncoder(settings(), topicsOf('three'))).rejects.toMatchObject({
      code: 'schema_incompatible',
      exitCode: 4,
    });
    expect(await ask('/subjects/three.signals-value/versions')).toEqual([1]);
  });

  test('without automatic registration a missing schema ends the start, a registered one does not', async () => {
    const off = settings({ TA_SCHEMA_AUTO_REGISTER: false });
    await expect(openTaEncoder(off, topicsOf('four'))).rejects.toMatchObject({
      code: 'schema_subject_missing',
      exitCode: 4,
    });
    await openTaEncoder(settings(), topicsOf('four'));
    expect(await openTaEncoder(off, topicsOf('four'))).toBeDefined();
  });

  test('a reader without a registry names the setting; a registry that is away can be asked again', async () => {
    const encoder = await openTaEncoder(settings(), topicsOf('five'));
    const [framed] = encoder?.encode(outputs('five').slice(0, 1)) ?? [];
    const item = { topic: 'five.bars', value: framed?.value ?? null };
    const unset = new TaDecoder(settings({ TA_SCHEMA_REGISTRY_URL: undefined }));
    await expect(unset.toJson(item)).rejects.toMatchObject({ code: 'schema_registry_unset', exitCode: 4 });
    const away = settings({ TA_SCHEMA_REGISTRY_URL: 'http://127.0.0.1:1' });
    await expect(new TaDecoder(away).toJson(item)).rejects.toMatchObject({
      code: 'schema_registry_unreachable',
      exitCode: 3,
      canRetry: true,
    });
    await expect(openTaEncoder(away, topicsOf('five'))).rejects.toMatchObject({
      code: 'schema_registry_unreachable',
      exitCode: 3,
    });
  });
});

/** What stands before the registry: it can be away, silent, or another one (whose ids are others). */
interface Front {
  url: string;
  mode: 'there' | 'away' | 'silent' | 'other';
  close(): Promise<void>;
}

async function openFront(): Promise<Front> {
  const front: Front = { url: '', mode: 'there', close: async () => undefined };
  const answerBy = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (front.mode === 'silent') return;
    if (front.mode === 'away') {
      request.socket.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const answer = await fetch(`${registry?.url}${request.url}`, {
      method: request.method ?? 'GET',
      headers: { 'content-type': request.headers['content-type'] ?? 'application/json' },
      ...(body.length > 0 ? { body } : {}),
    });
    const text = await answer.text();
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(front.mode === 'other' ? text.replace(/"id":(\d+)/, (_, id) => `"id":${Number(id) + 1_000}`) : text);
  };
  const server = createServer((request, response) => {
    answerBy(request, response).catch(() => request.socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  front.url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  front.close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return front;
}

describe('with a schema registry that is away', () => {
  let front: Front;
  let home: string;

  beforeEach(async () => {
    front = await openFront();
    home = freshHome();
  });
  afterEach(async () => {
    await front.close();
    rmSync(home, { recursive: true, force: true });
  });

  const through = (more: Partial<RegistrySettings> = {}) => settings({ TA_SCHEMA_REGISTRY_URL: front.url, ...more });
  const idsOf = (encoder: TaEncoder | undefined, name: string): number[] =>
    (encoder?.encode(outputs(name)) ?? []).map(({ value }) => value?.readInt32BE(1) ?? -1);

  test('a start writes the ids that the home remembers, and is told when they are right', async () => {
    const ids = idsOf(await openTaEncoder(through(), topicsOf('six'), home), 'six');
    expect(new Set(ids).size).toBe(2);
    front.mode = 'away';
    const again = await openTaEncoder(through(), topicsOf('six'), home);
    expect(again?.remembered?.why).toContain('schema_registry_unreachable');
    expect(idsOf(again, 'six')).toEqual(ids);
    const confirmed = again?.remembered?.confirm(new AbortController().signal, 20);
    front.mode = 'there';
    await confirmed;
    expect((await openTaEncoder(through(), topicsOf('six'), home))?.remembered).toBeUndefined();
  });

  test('a registry that takes the connection and never answers is away too', async () => {
    await openTaEncoder(through(), topicsOf('seven'), home);
    front.mode = 'silent';
    expect((await openTaEncoder(through(), topicsOf('seven'), home))?.remembered).toBeDefined();
  }, 60_000);

  test('ids that the home does not know are never guessed', async () => {
    await openTaEncoder(through(), topicsOf('eight'), home);
    front.mode = 'away';
    const away = { code: 'schema_registry_unreachable', exitCode: 3 };
    const one = new Map(topicsOf('eight')).set('eighty.bars', 'bar');
    await expect(openTaEncoder(through(), one, home)).rejects.toMatchObject(away);
  });

  test('a registry with other ids ends the writer, and the next start writes the new ones', async () => {
    const ids = idsOf(await openTaEncoder(through(), topicsOf('nine'), home), 'nine');
    front.mode = 'away';
    const again = await openTaEncoder(through(), topicsOf('nine'), home);
    front.mode = 'other';
    await expect(again?.remembered?.confirm(new AbortController().signal, 20)).rejects.toMatchObject({
      code: 'schema_ids_changed',
      exitCode: 4,
    });
    front.mode = 'away';
    const after = await openTaEncoder(through(), topicsOf('nine'), home);
    expect(idsOf(after, 'nine')).toEqual(ids.map((id) => id + 1_000));
  });

  test('a refusal is no outage: remembered ids do not go past it', async () => {
    await openTaEncoder(through(), topicsOf('ten'), home);
    const bar = taSchemas.bar as { fields: { name: string; type: unknown }[] };
    await send('PUT', '/config/ten.bars-value', { compatibility: 'NONE' });
    await publish('ten.bars-value', {
      ...bar,
      fields: bar.fields.map((field) => (field.name === 'count' ? { ...field, type: 'string' } : field)),
    });
    await expect(openTaEncoder(through(), topicsOf('ten'), home)).rejects.toMatchObject({
      code: 'schema_incompatible',
    });
  });

  test('a new reader reads what the home has seen before, and nothing else', async () => {
    const encoder = await openTaEncoder(through(), topicsOf('eleven'), home);
    const records = outputs('eleven');
    const framed = encoder?.encode(records) ?? [];
    const read = async (i: number) => {
      const { topic, value } = framed[i] as NewRecord;
      const back = await new TaDecoder(through(), home).toJson({ topic, value });
      return JSON.parse(String(back.value)) as unknown;
    };
    const bar = framed.findIndex(({ topic }) => topic === 'eleven.bars');
    const signal = framed.findIndex(({ topic }) => topic === 'eleven.signals');
    await read(bar);
    front.mode = 'away';
    expect(await read(bar)).toEqual(JSON.parse(String(records[bar]?.value)));
    await expect(read(signal)).rejects.toMatchObject({ code: 'schema_registry_unreachable', canRetry: true });
  });

  test('the daemon goes on through a restart during an outage, and says when the registry is back', async () => {
    const feed = await openFeed();
    const env = { ...feed.env, TA_SCHEMA_REGISTRY_URL: front.url, LOG_LEVEL: 'info' };
    const engine = () => startTorghut(['ta', '--only', 'engine', '--home', feed.home, '--port', '0'], env);
    const records = feedRecords(randomMarket(5, 60, 4), 5);
    const half = records.length >> 1;
    const write = (part: typeof records) => feed.writer.commit({ records: part.map(({ record }) => record) });
    const decoder = new TaDecoder(settings());
    const bars = async (): Promise<{ ids: Set<number>; count: number }> => {
      const ids = new Set<number>();
      let count = 0;
      for (let partition = 0; partition < partitions; partition++) {
        const topic = defaultTopics.taBars;
        const reader = await feed.log.openReader({ partitions: [{ topic, partition, start: 'earliest' }] });
        for (;;) {
          const batch = await reader.poll({ maxRecords: 5_000, waitMs: 20 });
          if (batch.length === 0) break;
          for (const record of batch) {
            ids.add(record.value?.readInt32BE(1) ?? -1);
            expect(JSON.parse(String((await decoder.toJson(record)).value))).toMatchObject({ run_id: 'test' });
            count += 1;
          }
        }
        await reader.close();
      }
      return { ids, count };
    };
    const grown = (than: number) =>
      vi.waitUntil(
        async () =>
          (await feed.log.describeTopics()).some(({ name }) => name === defaultTopics.taBars) &&
          (await bars()).count > than,
        {
          timeout: 60_000,
          interval: 200,
        },
      );
    try {
      const first = engine();
      await write(records.slice(0, half));
      await grown(20);
      first.child.kill('SIGKILL');
      await first.done;
      const before = await bars();
      front.mode = 'away';
      const second = engine();
      await write(records.slice(half));
      await grown(before.count + 20);
      expect(second.stdout() + second.stderr()).toContain('writing the schema ids that this home remembers');
      front.mode = 'there';
      await vi.waitUntil(() => (second.stdout() + second.stderr()).includes('the remembered schema ids are right'), {
        timeout: 60_000,
      });
      expect((await bars()).ids).toEqual(before.ids);
      expect(before.ids.size).toBe(1);
      second.child.kill('SIGTERM');
      expect((await second.done).code).toBe(0);
    } finally {
      await feed.close();
      rmSync(feed.home, { recursive: true, force: true });
    }
  }, 180_000);
});
