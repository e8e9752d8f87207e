/**
 * The text of a ta record in the very form that lib/ta/record.ts writes it, taken apart without making objects of it (measured:
 * a sixth of the work of parsing, checking and writing it anew, which the sink does for every row).
 * Guarantee: what is told of a text is what reading it as JSON by the schema of rows.ts would tell; every other text, also one
 * with the same content in another order, is undefined here and is read that way.
 */
import { indicatorNames } from './tables.ts';

export type RecordKind = 'bar' | 'signal';

/** A record's text, its times and switches apart. */
export interface RecordForm {
  ingestTs: string;
  eventTs: string;
  windowStart: string;
  windowEnd: string;
  runId: string;
  /** The other fields as JSON text with the names and forms of the table's columns, without braces. */
  columns: string;
}

/** Text without escapes: what stands between the quotes is the text. */
const plain = '[^"\\\\\\u0000-\\u001f]+';
const integer = '(?:0|[1-9]\\d{0,14})';
/** No double is beyond its range with so few digits. */
const number = '(?:0|-?[1-9]\\d{0,17}(?:\\.\\d{1,20})?|-?0\\.\\d{1,20}|-?[1-9](?:\\.\\d{1,20})?e[+-]\\d{1,2})';
const nullable = `(?:null|${number})`;
const flag = 'true|false';

const head = `\\{"ingest_ts":"(${plain})","event_ts":"(${plain})",("symbol":"${plain}","seq":${integer}),"is_final":(${flag}),("source":"${plain}","window_size":"(?:PT1S|PT1M)","window_step":"${plain}"),"window_start":"(${plain})","window_end":"(${plain})","run_id":"(${plain})",`;
const tail = `("revision":${integer},"version":${integer})\\}`;

const prices = ['o', 'h', 'l', 'c'].map((name) => `"${name}":${nullable},`).join('');
const barForm = new RegExp(
  `^${head}(${prices}"v":${number},"vwap":${nullable},"count":${integer}),"unpriced":(${integer}),"is_flat":(${flag}),${tail}$`,
);

const indicators = indicatorNames.map((name) => `"${name}":${nullable},`).join('');
const signalForm = new RegExp(
  `^${head}(${indicators}"microstructure_signal_v1":null,"n_bars":${integer}),"is_warm":(${flag}),("signal_quality_flag":"${plain}","feature_schema_version":"${plain}"),${tail}$`,
);

const bit = (text: string | undefined) => (text === 'true' ? 1 : 0);

/** @returns undefined when the text has not this form */
export function readRecordForm(text: string, kind: RecordKind): RecordForm | undefined {
  const found = (kind === 'bar' ? barForm : signalForm).exec(text);
  if (!found) return undefined;
  const [, ingestTs, eventTs, key, isFinal, window, windowStart, windowEnd, runId, values, a, b, version] = found;
  const own = kind === 'bar' ? `"unpriced_count":${a},"is_flat":${bit(b)}` : `"is_warm":${bit(a)},${b}`;
  return {
    ingestTs: ingestTs as string,
    eventTs: eventTs as string,
    windowStart: windowStart as string,
    windowEnd: windowEnd as string,
    runId: runId as string,
    columns: `${key},"is_final":${bit(isFinal)},${window},"run_id":"${runId}",${values},${own},${version}`,
  };
}
