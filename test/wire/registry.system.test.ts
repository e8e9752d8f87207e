/** Avro on the ta topics with a real schema registry: what is registered, what is refused, and both forms through the sink's reader. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NewRecord } from '../../src/lib/log/port.ts';
import { barRecord, signalRecord } from '../../src/lib/ta/index.ts';
import { type TaRecordKind, taSchemas } from '../../src/lib/wire/ta-schemas.ts';
import { isFramed, openTaEncoder, type RegistrySettings, TaDecoder } from '../../src/lib/wire/ta-wire.ts';
import { type SchemaRegistryServer, startSchemaRegistry } from '../support/schema-registry.ts';
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
