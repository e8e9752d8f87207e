/**
 * The Avro schemas of the ta topics (spec ta 1.6, with what torghut adds), the one place where they stand, and the way between
 * them and the flat JSON records that `lib/ta/record.ts` writes.
 * Guarantees: a record that goes through Avro and back is the same JSON object. Every version that was ever published lies in
 * `schemas/ta/`; a test holds the newest to this file and every one to its predecessors: additions with a default only.
 */

export type TaRecordKind = 'bar' | 'signal' | 'status';

type AvroSchema = Record<string, unknown>;
type Fields = { name: string; type: unknown; default?: unknown }[];

const optional = (name: string, type: unknown): Fields[number] => ({ name, type: ['null', type], default: null });
const required = (name: string, type: unknown): Fields[number] => ({ name, type });
const record = (name: string, fields: Fields): AvroSchema => ({ type: 'record', name, fields });
const optionals = (type: string, names: readonly string[]): Fields => names.map((name) => optional(name, type));

/** Fields before the body, in the published order. */
function head(windowName: string, afterSeq: Fields, afterFinal: Fields): Fields {
  const window = record(windowName, [required('size', 'string'), ...optionals('string', ['step', 'start', 'end'])]);
  return [
    ...['ingest_ts', 'event_ts', 'symbol'].map((name) => required(name, 'string')),
    required('seq', 'long'),
    ...afterSeq,
    optional('is_final', 'boolean'),
    ...afterFinal,
    optional('source', 'string'),
    optional('window', window),
  ];
}

const version: Fields[number] = { name: 'version', type: ['int', 'null'], default: 1 };
const revision: Fields[number] = { name: 'revision', type: 'long', default: 0 };
const runId = optional('run_id', 'string');

const doubles = (names: readonly string[]): Fields => names.map((name) => required(name, 'double'));
const prices = doubles(['o', 'h', 'l', 'c']);

const microstructure = record('MicrostructureSignalV1', [
  ...['schema_version', 'symbol', 'horizon'].map((name) => required(name, 'string')),
  required('direction_probabilities', record('DirectionProbabilities', doubles(['up', 'flat', 'down']))),
  required('uncertainty_band', 'string'),
  ...doubles(['expected_spread_impact_bps', 'expected_slippage_bps']),
  required('feature_quality_status', 'string'),
  required('artifact', record('Artifact', ['model_id', 'feature_schema_version', 'training_run_id'].map((name) => required(name, 'string')))),
]); // biome-ignore format: one field, one line

/** Schemas by the kind of record, in the namespace of the published ones. */
export const taSchemas: Record<TaRecordKind, AvroSchema> = {
  bar: {
    ...record('TaBar1s', [
      ...head('WindowBar1s', [], []),
      ...prices,
      required('v', 'double'),
      optional('vwap', 'double'),
      required('count', 'long'),
      { name: 'unpriced', type: 'long', default: 0 },
      { name: 'is_flat', type: 'boolean', default: false },
      revision,
      runId,
      version,
    ]),
    namespace: 'torghut.ta',
  },
  signal: {
    ...record('TaSignal', [
      ...head('WindowSignal', [optional('feature_schema_version', 'string')], [optional('signal_quality_flag', 'string')]),
      optional('macd', record('Macd', doubles(['macd', 'signal', 'hist']))),
      // The two means become warm at different bars.
      optional('ema', record('Ema', optionals('double', ['ema12', 'ema26']))),
      optional('rsi14', 'double'),
      optional('boll', record('Bollinger', doubles(['mid', 'upper', 'lower']))),
      optional('vwap', record('Vwap', optionals('double', ['session', 'w5m']))),
      // A side without a price has no spread.
      optional('imbalance', record('Imbalance', [optional('spread', 'double'), ...doubles(['bid_px', 'ask_px', 'bid_sz', 'ask_sz'])])),
      optional('vol_realized', record('RealizedVol', doubles(['w60s']))),
      optional('microstructure_signal_v1', microstructure),
      { name: 'n_bars', type: 'long', default: 0 },
      { name: 'is_warm', type: 'boolean', default: false },
      revision,
      runId,
      version,
    ]),
    namespace: 'torghut.ta',
  },
  status: {
    ...record('TaStatus', [
      ...head('WindowStatus', [], []),
      ...optionals('long', ['watermark_lag_ms', 'source_lag_ms']),
      ...optionals('string', ['last_event_ts', 'last_input_event_ts', 'last_output_event_ts']),
      ...optionals('long', [
        'input_event_count', 'output_event_count', 'microbar_event_count', 'signal_event_count',
        'current_input_event_count', 'current_output_event_count', 'current_record_count',
      ]),
      ...optionals('double', [
        'input_rate_per_second', 'output_rate_per_second', 'microbar_rate_per_second', 'signal_rate_per_second',
      ]),
      optional('clickhouse_sink_enabled', 'boolean'),
      optional('per_symbol_latest_event_ts', { type: 'map', values: 'string' }),
      ...optionals('string', ['market_session_state']),
      required('status', 'string'),
      ...optionals('string', ['status_reason']),
      optional('heartbeat', 'boolean'),
      optional('partition', 'int'),
      runId,
      version,
    ]),
    namespace: 'torghut.ta',
  },
}; // biome-ignore format: one field, one line

/** For each nested record of a kind: its fields, and the names that they have in the flat record. */
type Nesting = Record<string, Record<string, string>>;
const under = (prefix: string, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, `${prefix}_${name}`]));
const window = under('window', ['size', 'step', 'start', 'end']);

const nestings: Record<TaRecordKind, Nesting> = {
  bar: { window },
  signal: {
    window,
    macd: { macd: 'macd', signal: 'macd_signal', hist: 'macd_hist' },
    ema: { ema12: 'ema12', ema26: 'ema26' },
    boll: under('boll', ['mid', 'upper', 'lower']),
    vwap: under('vwap', ['session', 'w5m']),
    imbalance: under('imbalance', ['spread', 'bid_px', 'ask_px', 'bid_sz', 'ask_sz']),
    vol_realized: under('vol_realized', ['w60s']),
  },
  // A heartbeat has its window as it is: null.
  status: {},
};

/** The flat record as its schema has it; a nested record whose fields are all null is null. */
export function nested(kind: TaRecordKind, flat: Record<string, unknown>): Record<string, unknown> {
  const out = { ...flat };
  for (const [name, fields] of Object.entries(nestings[kind])) {
    const inner = Object.fromEntries(Object.entries(fields).map(([field, from]) => [field, flat[from] ?? null]));
    for (const from of Object.values(fields)) if (from !== name) delete out[from];
    out[name] = Object.values(inner).every((value) => value === null) ? null : inner;
  }
  return out;
}

/** The way back: a record that was read by the schema of this version as the flat one. */
export function flattened(kind: TaRecordKind, read: Record<string, unknown>): Record<string, unknown> {
  const out = { ...read };
  for (const [name, fields] of Object.entries(nestings[kind])) {
    const inner = (read[name] ?? {}) as Record<string, unknown>;
    delete out[name];
    for (const [field, to] of Object.entries(fields)) out[to] = inner[field] ?? null;
  }
  return out;
}
