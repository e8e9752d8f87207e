/**
 * How fast technical analysis is: trades per CPU-second from the bytes of envelopes to the bytes of bars and signals, on the
 * recorded day (trades and quotes merged by time), next to a loop that only reads and JSON.parses the same bytes; and bars to
 * signals alone. Needs TORGHUT_DATA. Every figure is CPU time of this process, the best of five rounds. In a round of their own:
 * the largest state of a symbol at any second of the day, and where the time goes, by a sampling profile.
 *
 *   TORGHUT_DATA=… node --expose-gc bench/ta.ts
 */
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { createEnvelopeWriter } from '../src/lib/market/envelope-text.ts';
import { systemClock } from '../src/lib/service/clock.ts';
import { DefaultBranch } from '../src/lib/ta/branch.ts';
import { barRecord, decodeRecord, settingsOf, signalRecord, TaEngine, type TaOutput } from '../src/lib/ta/index.ts';

const data = process.env.TORGHUT_DATA;
if (!data) throw new Error('TORGHUT_DATA is not set: it names the folder of the recorded sessions');
const folder = join(data, 'us-equities-2013-10-08');

interface Input {
  bytes: Buffer[];
  trades: number;
}

/** Envelopes of the whole day, as ws writes them, in the order of their times. */
function readDay(): Input {
  const writer = createEnvelopeWriter({ feed: 'sip', clock: systemClock(), lastSeq: 0 });
  const lines = ['trades', 'quotes'].flatMap((file) =>
    gunzipSync(readFileSync(join(folder, `${file}.ndjson.gz`))).toString().trimEnd().split('\n'),
  ); // biome-ignore format: one chain
  const messages = lines.map((raw) => {
    const { S, t } = JSON.parse(raw) as { S: string; t: string };
    return { raw, symbol: S, t, at: Date.parse(t) };
  });
  messages.sort((a, b) => a.at - b.at);
  const bytes = messages.map(({ raw, symbol, t }) => {
    const channel = raw.startsWith('{"T":"t"') ? 'trades' : 'quotes';
    const fields = {
      channel,
      symbol,
      eventTs: t,
      session: 'regular',
      payload: raw,
      source: 'ws',
      isFinal: true,
    } as const;
    return Buffer.from(writer.market(fields));
  });
  return { bytes, trades: lines.filter((line) => line.startsWith('{"T":"t"')).length };
}

/** CPU seconds of a function, the best of five. */
function best(run: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    globalThis.gc?.();
    const from = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(from);
    least = Math.min(least, (user + system) / 1e6);
  }
  return least;
}

const input = readDay();
let checksum = 0;

const parseSeconds = best(() => {
  for (const value of input.bytes) {
    const envelope = JSON.parse(value.toString('utf8')) as { seq: number };
    checksum += envelope.seq % 7;
  }
});

const newOutputs = () => ({ bars: 0, signals: 0, bytes: 0 });
let outputs = newOutputs();

/** As the daemon has it. */
const utf8 = (bytes: Uint8Array): string => (bytes as Buffer).toString('utf8');

/** The day through the core. @param look called with the engine after every event */
function computeDay(look?: (engine: TaEngine) => void): void {
  const engine = new TaEngine(settingsOf('default'));
  outputs = newOutputs();
  const emit = (output: TaOutput) => {
    if (output.kind === 'late') throw new Error('nothing of the recorded day is late');
    outputs[output.kind === 'bar' ? 'bars' : 'signals'] += 1;
    const text = output.kind === 'bar' ? barRecord(output, '', 'run') : signalRecord(output, '', 'run');
    outputs.bytes += Buffer.from(text).length;
  };
  for (const value of input.bytes) {
    const event = decodeRecord(value, utf8);
    if (typeof event === 'string' || event.kind === 'progress') throw new Error(`unexpected ${String(event)}`);
    engine.process(event, emit);
    if (look !== undefined) look(engine);
  }
}

const taSeconds = best(() => computeDay());

/** The largest snapshot of a symbol, looked at once a market second. */
function largestState(): number {
  let largest = 0;
  let second = 0;
  computeDay((engine) => {
    const at = engine.newestEvent?.sec ?? 0;
    if (at === second) return;
    second = at;
    for (const symbol of engine.symbols.keys()) largest = Math.max(largest, engine.snapshot(symbol)?.length ?? 0);
  });
  return largest;
}

/** What a file of the core does, for the profile. */
const rooms: [RegExp, string][] = [
  [/ta\/(scan|scan-values|envelope)\.ts$/, 'reading the bytes of envelopes'],
  [/ta\/record\.ts$/, 'texts of bars and signals'],
  [/ta\/(branch|log|sums)\.ts$/, 'indicators'],
  [/ta\/(window|conditions|amendments|session|quotes)\.ts$/, 'trades and quotes into windows'],
  [/ta\//, 'watermark, symbols, signals'],
];

/** Share of the samples by what the code does, of one round of the day. */
async function profile(): Promise<Record<string, string>> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 250 });
  await session.post('Profiler.start');
  computeDay();
  const { profile: taken } = await session.post('Profiler.stop');
  session.disconnect();
  const places = new Map(taken.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const spent = new Map<string, number>();
  let all = 0;
  for (const [i, id] of (taken.samples ?? []).entries()) {
    const { url, functionName } = places.get(id) ?? { url: '', functionName: '' };
    if (url.startsWith('node:inspector') || functionName === '(program)' || functionName === '(idle)') continue;
    const room = rooms.find(([pattern]) => pattern.test(url))?.[1];
    const name = room ?? (functionName === '(garbage collector)' ? 'garbage collection' : 'the loop of the bench');
    const micros = taken.timeDeltas?.[i] ?? 0;
    spent.set(name, (spent.get(name) ?? 0) + micros);
    all += micros;
  }
  const sorted = [...spent].sort(([, a], [, b]) => b - a);
  return Object.fromEntries(sorted.map(([name, micros]) => [name, `${((100 * micros) / all).toFixed(1)} %`]));
}

const BARS = 1_000_000;
const branchSeconds = best(() => {
  const branch = new DefaultBranch(1, settingsOf('default'));
  for (let i = 0; i < BARS; i++) {
    const close = 100 + ((i * 7919) % 1_000) / 100;
    branch.rewindFloor = 1_381_239_000 + i - 15;
    checksum += branch.push(1_381_239_000 + i, close, close * 100, 100).ema12 ?? 0;
  }
});

const round = (value: number) => Math.round(value);
process.stdout.write(
  `${JSON.stringify(
    {
      messages: input.bytes.length,
      trades: input.trades,
      envelope_bytes: input.bytes.reduce((sum, value) => sum + value.length, 0),
      outputs,
      parse_loop: { cpu_seconds: parseSeconds, trades_per_cpu_second: round(input.trades / parseSeconds) },
      ta: { cpu_seconds: taSeconds, trades_per_cpu_second: round(input.trades / taSeconds), ratio_to_parse_loop: parseSeconds / taSeconds },
      bars_to_signals_per_cpu_second: round(BARS / branchSeconds),
      largest_state_of_a_symbol_bytes: largestState(),
      profile_of_ta: await profile(),
      checksum,
    },
    null,
    2,
  )}\n`,
); // biome-ignore format: one object
