/** The pure technical-analysis core: everything a host (the Node runner, Flink, a bench, a test) may use. */

export { SnapshotError } from './bytes.ts';
export { type SymbolSnapshot, silentLimitSeconds, TaEngine } from './engine.ts';
export { type Decoded, decodeEnvelope, decodeProviderMessage, IGNORED, type RejectReason } from './envelope.ts';
export type * from './events.ts';
export { defaultSettings, settingsOf } from './events.ts';
export { barRecord, signalRecord } from './record.ts';
export { decodeRecord } from './scan.ts';
export { formatInstant, formatSecond, type Instant, parseInstant } from './time.ts';
