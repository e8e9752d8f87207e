/** The Avro schemas of the ta topics: a record loses nothing on the way, and every published version can still be read. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import avro from 'avsc';
import { describe, expect, it } from 'vitest';
import { heartbeatOf } from '../../src/daemons/ta/heartbeat.ts';
import { barRecord, signalRecord } from '../../src/lib/ta/index.ts';
import { type TaRecordKind, taSchemas } from '../../src/lib/wire/ta-schemas.ts';
import { fromAvro, resolverFrom, toAvro } from '../../src/lib/wire/ta-wire.ts';
import { inOrder, randomMarket, runAll } from '../ta/fixtures.ts';

type Flat = Record<string, unknown>;
const kinds = Object.keys(taSchemas) as TaRecordKind[];
const folder = join(import.meta.dirname, '../../schemas/ta');

interface Version {
  kind: TaRecordKind;
  number: number;
  schema: avro.Schema;
}

const history: Version[] = readdirSync(folder)
  .map((file): Version => {
    const match = /^(bar|signal|status)\.v(\d+)\.avsc$/.exec(file);
    if (!match) throw new Error(`schemas/ta/${file} is no version of a schema`);
    const schema = JSON.parse(readFileSync(join(folder, file), 'utf8')) as avro.Schema;
    return { kind: match[1] as TaRecordKind, number: Number(match[2]), schema };
  })
  .sort((a, b) => a.number - b.number);

const versionsOf = (kind: TaRecordKind) => history.filter((version) => version.kind === kind);

/** Bars and signals of a market with every sort of row: cold and warm, flat, withdrawn, with and without quotes. */
function records(): { kind: TaRecordKind; flat: Flat }[] {
  const { outputs } = runAll(inOrder(randomMarket(7, 130, 6)));
  return outputs.flatMap((output) => {
    if (output.kind === 'late') return [];
    const text =
      output.kind === 'bar'
        ? barRecord(output, '2013-10-08T13:30:01.000Z', 'r')
        : signalRecord(output, '2013-10-08T13:30:01.000Z', 'r');
    return [{ kind: output.kind, flat: JSON.parse(text) as Flat }];
  });
}

function heartbeat(latest: Map<string, number>, lastMs: number | null): Flat {
  const body = heartbeatOf({
    nowMs: 1_381_239_000_123, watermarkMs: lastMs === null ? null : lastMs - 0.25, lastInputMs: lastMs, lastOutputMs: lastMs,
    inputCount: 10, outputCount: 9, previous: lastMs === null ? undefined : { inputCount: 4, outputCount: 4, elapsedSeconds: 7 },
    isRegularSession: true, degradedAfterMs: 1_000, latestBySymbol: latest, isSinkEnabled: true,
  }); // biome-ignore format: one heartbeat
  const ts = '2013-10-08T13:30:00.123Z';
  const envelope = { ingest_ts: ts, event_ts: ts, symbol: 'ta', seq: 3, is_final: true, source: 'ta', window: null };
  return { ...envelope, run_id: 'r', partition: 1, ...body, version: 1 };
}

describe('records in Avro', () => {
  it('come back as the same JSON record, number for number', () => {
    const all = records();
    const counts = { bar: 0, signal: 0, status: 0 };
    for (const { kind, flat } of all) {
      counts[kind] += 1;
      const body = toAvro(kind, flat);
      expect(fromAvro(kind, body)).toEqual(flat);
      // An object with other keys would pass as equal if both were undefined.
      expect(Object.keys(fromAvro(kind, body)).sort()).toEqual(Object.keys(flat).sort());
    }
    expect(counts.bar).toBeGreaterThan(200);
    expect(counts.signal).toBeGreaterThan(200);
    const nulls = (name: string) => new Set(all.map(({ flat }) => flat[name] === null)).size;
    for (const name of ['macd', 'ema12', 'ema26', 'rsi14', 'boll_mid', 'imbalance_bid_px'])
      expect(nulls(name), name).toBe(2);
    expect(all.some(({ flat }) => flat.ema12 !== null && flat.ema26 === null)).toBe(true);
    expect(all.some(({ flat }) => flat.signal_quality_flag === 'withdrawn')).toBe(true);
  });

  it('hold every field of a heartbeat', () => {
    for (const flat of [
      heartbeat(new Map(), null),
      heartbeat(new Map([['SPY', 1_381_239_000_000]]), 1_381_239_000_000),
    ]) {
      const back = fromAvro('status', toAvro('status', flat));
      expect(back).toEqual(flat);
      expect(Object.keys(back).sort()).toEqual(Object.keys(flat).sort());
    }
  });

  it('refuse what does not fit instead of writing something else', () => {
    const flat = records()[0]?.flat as Flat;
    expect(() => toAvro('bar', { ...flat, count: 'many' })).toThrow();
    expect(() => toAvro('bar', { ...flat, o: null })).toThrow();
  });
});

describe('the history of the schemas', () => {
  it.each(kinds)('ends with the %s schema of this version', (kind) => {
    const versions = versionsOf(kind);
    expect(versions.map(({ number }) => number)).toEqual(versions.map((_, i) => i + 1));
    // A change of the schema needs a new file beside the old ones.
    expect(versions.at(-1)?.schema).toEqual(taSchemas[kind]);
  });

  it.each(kinds)('lets every %s schema read what all before it wrote', (kind) => {
    const versions = versionsOf(kind);
    for (const [i, reader] of versions.entries()) {
      for (const writer of versions.slice(0, i)) {
        expect(() =>
          avro.Type.forSchema(reader.schema).createResolver(avro.Type.forSchema(writer.schema)),
        ).not.toThrow();
      }
    }
    for (const writer of versions) expect(() => resolverFrom(kind, writer.schema)).not.toThrow();
  });

  it('would catch a change that cannot read old records', () => {
    const bar = taSchemas.bar as { fields: { name: string; type: unknown }[] };
    const old = { ...bar, fields: bar.fields.filter(({ name }) => name !== 'count') };
    expect(() => resolverFrom('bar', old)).toThrow();
    const other = {
      ...bar,
      fields: bar.fields.map((field) => (field.name === 'v' ? { ...field, type: 'string' } : field)),
    };
    expect(() => resolverFrom('bar', other)).toThrow();
  });

  it('reads records of an older version, with the defaults for what it did not have', () => {
    const bar = taSchemas.bar as { fields: { name: string; type: unknown }[] };
    const added = ['unpriced', 'is_flat', 'revision', 'run_id'];
    const first = { ...bar, fields: bar.fields.filter(({ name }) => !added.includes(name)) };
    const { flat } = records()[0] as { flat: Flat };
    const window = { size: 'PT1S', step: 'PT1S', start: flat.window_start, end: flat.window_end };
    const body = avro.Type.forSchema(first as avro.Schema).toBuffer({ ...flat, window });
    expect(fromAvro('bar', body, resolverFrom('bar', first))).toEqual({
      ...flat,
      unpriced: 0,
      is_flat: false,
      revision: 0,
      run_id: null,
    });
  });
});
