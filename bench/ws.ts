/**
 * `torghut ws` from the socket to the acknowledged Kafka record, on a real broker of this machine.
 * 1. Messages per CPU-second over the recorded day (TORGHUT_DATA), against a bare loop of `ws`, JSON.parse and kafkajs
 *    (idempotent, acks=all, the same batches, no transaction, no envelope) over the same frames in the same run; and the
 *    highest rate that ws sustains, with everything on this machine.
 * 2. At 20,000 messages a second: time from the sending of a message to its arrival at a reader that sees committed records
 *    alone, which is above socket-to-ack, and the resident memory, with 12 and with 500 symbols. The first three seconds warm
 *    the processes up; their worst is told apart.
 * Feeder, broker and reader are processes of their own and are not counted.
 * Usage: TORGHUT_DATA=… node bench/ws.ts [--messages 300000] [--turns 3] [--seconds 15] [--rate 20000] [--per-frame 8]
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import kafkajs from 'kafkajs';
import { type WebSocket as Socket, WebSocket, WebSocketServer } from 'ws';
import { openEventLog } from '../src/lib/log/open.ts';
import { cliCommand } from '../src/lib/service/cli-entry.ts';
import { systemClock } from '../src/lib/service/clock.ts';
import { startKafka } from '../test/support/kafka-server.ts';

const self = fileURLToPath(import.meta.url);
/** Seconds of a paced run before its latencies count. */
const WARM_SECONDS = 3;
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const recordedSymbols = ['AIG', 'BAC', 'IBM', 'SPY'];
const topicNames = {
  TOPIC_TRADES: 'trades', TOPIC_QUOTES: 'quotes', TOPIC_BARS_1M: 'bars', TOPIC_STATUS: 'status',
  TOPIC_TRADE_UPDATES: 'orders.v1', TOPIC_TRADE_UPDATES_V2: 'orders.v2', INGEST_REPAIR_TOPIC: 'repair', INGEST_DLQ_TOPIC: 'dlq',
}; // biome-ignore format: one list

/** Trades and quotes of the recorded session in order of time, in frames. */
function recordedFrames(messages: number, perFrame: number): { frames: string[]; messages: number } {
  const folder = join(process.env.TORGHUT_DATA ?? '', 'us-equities-2013-10-08');
  const read = (name: string) =>
    gunzipSync(readFileSync(join(folder, name)))
      .toString('utf8')
      .split('\n')
      .map((line) => ({ line, at: Date.parse(/"t":"([^"]+)"/.exec(line)?.[1] ?? '') }))
      .filter(({ at }) => at >= Date.parse('2013-10-08T13:30:00Z'));
  const lines = [...read('trades.ndjson.gz'), ...read('quotes.ndjson.gz')]
    .sort((a, b) => a.at - b.at)
    .slice(0, messages)
    .map(({ line }) => line);
  const frames: string[] = [];
  for (let i = 0; i < lines.length; i += perFrame) frames.push(`[${lines.slice(i, i + perFrame).join(',')}]`);
  return { frames, messages: lines.length };
}

interface Go {
  /** 'recorded' as fast as they are taken, or a number of messages a second of invented trades over `symbols` symbols. */
  what: 'recorded' | 'paced';
  rate?: number;
  seconds?: number;
  symbols?: number;
}

/** Speaks just enough of the protocol, serves an empty history, and sends when told. */
async function feeder(messages: number, perFrame: number): Promise<void> {
  const data = recordedFrames(messages, perFrame);
  const server = createServer((request, response) => {
    const kind = /stocks\/(\w+)/.exec(request.url ?? '')?.[1] ?? 'trades';
    response.end(`{"${kind}":{},"next_page_token":null}`);
  });
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  let client: Socket | undefined;
  sockets.on('connection', (socket) => {
    client = socket;
    const held: Record<string, string[]> = {};
    socket.send('[{"T":"success","msg":"connected"}]');
    socket.on('message', (text) => {
      const { action, ...lists } = JSON.parse(String(text)) as { action: string } & Record<string, string[]>;
      if (action === 'auth') socket.send('[{"T":"success","msg":"authenticated"}]');
      if (action !== 'subscribe') return;
      // Every answer carries the whole subscription, not what this message added.
      for (const [channel, list] of Object.entries(lists)) held[channel] = [...(held[channel] ?? []), ...(list ?? [])];
      const implied = { corrections: held.trades ?? [], cancelErrors: held.trades ?? [] };
      socket.send(JSON.stringify([{ T: 'subscription', ...held, ...implied }]));
    });
  });
  const sendRecorded = async () => {
    for (const frame of data.frames) {
      client?.send(frame);
      while ((client?.bufferedAmount ?? 0) > 4_000_000) await wait(1);
    }
  };
  /** The id of a trade is the microsecond of its sending. */
  const sendPaced = async ({ rate = 0, seconds = 0, symbols = 1 }: Go) => {
    const beganMs = performance.now();
    const total = rate * seconds;
    let last = 0;
    for (let sent = 0; sent < total; ) {
      const due = Math.min(total, Math.floor(((performance.now() - beganMs) / 1_000) * rate));
      while (sent < due) {
        const list: string[] = [];
        for (let i = 0; i < perFrame && sent < due; i++, sent++) {
          last = Math.max(last + 1, Math.round((performance.timeOrigin + performance.now()) * 1_000));
          const t = new Date(last / 1_000).toISOString();
          const body = `"x":"Q","p":${100 + (sent % 997) / 100},"s":${1 + (sent % 300)},"c":["@","I"]`;
          list.push(`{"T":"t","S":"S${sent % symbols}","i":${last},${body},"t":"${t}","z":"C"}`);
        }
        client?.send(`[${list.join(',')}]`);
      }
      await wait(1);
    }
    process.send?.({ sent: total });
  };
  process.on('message', (go: Go) => void (go.what === 'recorded' ? sendRecorded() : sendPaced(go)));
  server.listen(0, '127.0.0.1', () => {
    process.send?.({ port: (server.address() as AddressInfo).port, messages: data.messages });
  });
}

/** The reference: a socket, JSON.parse of each frame, one awaited batch after another by kafkajs. */
async function bare(port: number, messages: number, bootstrap: string): Promise<void> {
  const kafka = new kafkajs.Kafka({ brokers: [bootstrap], logLevel: kafkajs.logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  const topics = ['bare.t', 'bare.q'].map((topic) => ({ topic, numPartitions: 3, replicationFactor: 1 }));
  await admin.createTopics({ topics, waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const waiting: { topic: string; key: string; value: string }[] = [];
  let acknowledged = 0;
  let isSending = false;
  let started: NodeJS.CpuUsage | undefined;
  let startedMs = 0;
  const flush = async () => {
    if (isSending) return;
    isSending = true;
    while (waiting.length > 0) {
      const batch = waiting.splice(0, 2_000);
      const byTopic = new Map<string, { key: string; value: string }[]>();
      for (const { topic, key, value } of batch) {
        const list = byTopic.get(topic);
        if (list) list.push({ key, value });
        else byTopic.set(topic, [{ key, value }]);
      }
      await producer.sendBatch({
        acks: -1,
        topicMessages: [...byTopic].map(([topic, list]) => ({ topic, messages: list })),
      });
      acknowledged += batch.length;
    }
    isSending = false;
    if (acknowledged < messages) return;
    const { user, system } = process.cpuUsage(started);
    process.send?.({ cpuSeconds: (user + system) / 1e6, wallSeconds: (performance.now() - startedMs) / 1_000 });
  };
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v2/sip`, { perMessageDeflate: false });
  socket.on('message', (text) => {
    const list = JSON.parse(String(text)) as { T: string; S: string; msg?: string }[];
    if (list[0]?.msg === 'connected') return void process.send?.('ready');
    if (started === undefined) {
      started = process.cpuUsage();
      startedMs = performance.now();
    }
    for (const message of list) {
      waiting.push({ topic: `bare.${message.T}`, key: message.S, value: JSON.stringify(message) });
    }
    if (waiting.length >= 2_000) void flush();
  });
  setInterval(() => void flush(), 25);
}

const answer = <T>(child: ChildProcess) =>
  new Promise<T>((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`a process of the bench ended with ${code}`));
    child.once('exit', onExit);
    child.once('message', (value) => {
      child.off('exit', onExit);
      resolve(value as T);
    });
  });

const say = (text: string) => process.stderr.write(`${text}\n`);

/** User and system CPU seconds of a process, and its resident megabytes. */
function usage(pid: number): { cpuSeconds: number; residentMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const residentKb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, residentMb: Number(residentKb) / 1_024 };
}

interface Status {
  state: string;
  acknowledged: { trades: number; quotes: number };
  gaps: { open: number };
}

interface Forwarder {
  pid: number;
  status(): Promise<Status | undefined>;
  topic(name: 'trades'): string;
  end(): void;
}

let forwarders = 0;

/** Starts ws on the broker, with topics of its own, and waits until it delivers. */
async function startForwarder(port: number, bootstrap: string, symbols: readonly string[]): Promise<Forwarder> {
  const home = mkdtempSync(join(tmpdir(), 'torghut-bench-ws-'));
  const name = `bench${++forwarders}`;
  const cli = cliCommand();
  const child = spawn(cli.file, [...cli.args, 'ws', '--home', home, '--port', '0'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      LOG_LEVEL: 'error',
      KAFKA_BOOTSTRAP: bootstrap,
      KAFKA_CLIENT_ID: name,
      ...Object.fromEntries(Object.entries(topicNames).map(([variable, topic]) => [variable, `${name}.${topic}`])),
      APCA_API_KEY_ID: 'SIM-BENCH',
      APCA_API_SECRET_KEY: 'SIM-BENCH-SECRET',
      ALPACA_FEED: 'sip',
      // The recorded session is years old: its age is the same for every message, and no fault.
      ALPACA_STREAM_URL: `ws://127.0.0.1:${port}`,
      ALPACA_BASE_URL: `http://127.0.0.1:${port}`,
      SYMBOLS: symbols.join(','),
    },
  });
  const status = async (): Promise<Status | undefined> => {
    try {
      const { url } = JSON.parse(readFileSync(join(home, 'services', 'ws.json'), 'utf8')) as { url: string };
      return (await (await fetch(`${url}/status`)).json()) as Status;
    } catch {
      return undefined;
    }
  };
  for (let now = await status(); now?.state !== 'ready' || now.gaps.open > 0; now = await status()) {
    if (child.exitCode !== null) throw new Error(`ws ended with ${child.exitCode}`);
    await wait(20);
  }
  return {
    pid: child.pid as number,
    status,
    topic: (topic) => `${name}.${topic}`,
    end: () => {
      child.kill('SIGKILL');
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const acknowledgedOf = (status: Status | undefined) =>
  (status?.acknowledged.trades ?? 0) + (status?.acknowledged.quotes ?? 0);

async function throughput(port: number, messages: number, bootstrap: string, send: () => void) {
  const ws = await startForwarder(port, bootstrap, recordedSymbols);
  try {
    const before = usage(ws.pid);
    const startedMs = performance.now();
    send();
    let highestMb = 0;
    while (acknowledgedOf(await ws.status()) < messages) {
      highestMb = Math.max(highestMb, usage(ws.pid).residentMb);
      await wait(50);
    }
    const after = usage(ws.pid);
    return {
      cpuSeconds: after.cpuSeconds - before.cpuSeconds,
      wallSeconds: (performance.now() - startedMs) / 1_000,
      residentMb: highestMb,
    };
  } finally {
    ws.end();
  }
}

/** A steady rate: latency to a committed reader, CPU and memory. */
async function paced(
  feed: ChildProcess,
  port: number,
  bootstrap: string,
  options: { rate: number; seconds: number; symbols: number },
) {
  const names = Array.from({ length: options.symbols }, (_, i) => `S${i}`);
  const ws = await startForwarder(port, bootstrap, names);
  const reader = fork(self, [
    'reader',
    bootstrap,
    ws.topic('trades'),
    String(options.rate * options.seconds),
    String(options.rate * WARM_SECONDS),
  ]);
  try {
    await answer(reader);
    const before = usage(ws.pid);
    const startedMs = performance.now();
    const result = answer<{ latencies: number[]; warmingMs: number }>(reader);
    let isDone = false;
    void result.then(() => {
      isDone = true;
    });
    feed.send({ what: 'paced', ...options } satisfies Go);
    let highestMb = 0;
    while (!isDone) {
      highestMb = Math.max(highestMb, usage(ws.pid).residentMb);
      await wait(250);
    }
    const after = usage(ws.pid);
    const wallSeconds = (performance.now() - startedMs) / 1_000;
    const { latencies, warmingMs } = await result;
    const sorted = latencies.sort((a, b) => a - b);
    const at = (share: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
    return {
      symbols: options.symbols,
      messages_per_second: Math.round((options.rate * options.seconds) / wallSeconds),
      sent_to_read_p50_ms: at(0.5),
      sent_to_read_p99_ms: at(0.99),
      sent_to_read_max_ms: at(1),
      warming_up_max_ms: Math.round(warmingMs),
      cpu_share_of_a_core: Math.round(((after.cpuSeconds - before.cpuSeconds) / wallSeconds) * 100) / 100,
      resident_mb: Math.round(highestMb),
    };
  } finally {
    reader.kill();
    ws.end();
  }
}

/** Reads committed trades from the end on and tells how old each was on arrival. */
async function reader(bootstrap: string, topic: string, expected: number, warming: number): Promise<void> {
  const log = await openEventLog({ home: '/', env: { KAFKA_BOOTSTRAP: bootstrap }, clock: systemClock() });
  const [described] = await log.describeTopics([topic]);
  const partitions = (described?.partitions ?? []).map(({ partition }) => ({
    topic,
    partition,
    start: 'latest' as const,
  }));
  const open = await log.openReader({ partitions });
  await open.poll({ maxRecords: 1, waitMs: 200 });
  process.send?.('ready');
  const latencies: number[] = [];
  let warmingMs = 0;
  let count = 0;
  while (count < expected) {
    const records = await open.poll({ maxRecords: 10_000, waitMs: 50 });
    const nowUs = (performance.timeOrigin + performance.now()) * 1_000;
    for (const { key, value } of records) {
      if (key === null) continue;
      count += 1;
      const id = /"i":(\d+)/.exec(String(value))?.[1];
      if (id === undefined || count % 10 !== 0) continue;
      const ms = (nowUs - Number(id)) / 1_000;
      if (count > warming) latencies.push(ms);
      else warmingMs = Math.max(warmingMs, ms);
    }
  }
  process.send?.({ latencies, warmingMs });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '300000' },
      turns: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '15' },
      rate: { type: 'string', default: '20000' },
      'per-frame': { type: 'string', default: '8' },
    },
  });
  const kafka = await startKafka();
  const feed = fork(self, ['feeder', values.messages, values['per-frame']]);
  const { port, messages } = await answer<{ port: number; messages: number }>(feed);
  const round = (value: number) => Math.round(value * 100) / 100;
  const rows: Record<string, unknown>[] = [];
  const shares: number[] = [];
  const steady: unknown[] = [];
  try {
    const send = () => void feed.send({ what: 'recorded' } satisfies Go);
    for (let turn = 1; turn <= Number(values.turns); turn++) {
      const loop = fork(self, ['bare', String(port), String(messages), kafka.bootstrap]);
      await answer(loop);
      send();
      say(`turn ${turn}: the bare loop`);
      const reference = await answer<{ cpuSeconds: number; wallSeconds: number }>(loop);
      loop.kill();
      say(`turn ${turn}: ws`);
      const ours = await throughput(port, messages, kafka.bootstrap, send);
      shares.push(reference.cpuSeconds / ours.cpuSeconds);
      rows.push({
        turn,
        messages,
        bare_per_cpu_second: Math.round(messages / reference.cpuSeconds),
        ws_per_cpu_second: Math.round(messages / ours.cpuSeconds),
        share: round(reference.cpuSeconds / ours.cpuSeconds),
        bare_per_second: Math.round(messages / reference.wallSeconds),
        ws_per_second: Math.round(messages / ours.wallSeconds),
        resident_mb: Math.round(ours.residentMb),
      });
    }
    for (const symbols of [12, 500]) {
      say(`${values.rate} messages a second, ${symbols} symbols`);
      const options = { rate: Number(values.rate), seconds: Number(values.seconds), symbols };
      steady.push(await paced(feed, port, kafka.bootstrap, options));
    }
  } finally {
    feed.kill();
    await kafka.stop();
  }
  const median = [...shares].sort((a, b) => a - b)[Math.floor(shares.length / 2)] ?? 0;
  const result = { messages_per_frame: Number(values['per-frame']), median_share: round(median), runs: rows, steady };
  process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'feeder') await feeder(Number(rest[0]), Number(rest[1]));
else if (mode === 'bare') await bare(Number(rest[0]), Number(rest[1]), rest[2] as string);
else if (mode === 'reader') await reader(rest[0] as string, rest[1] as string, Number(rest[2]), Number(rest[3]));
else await main();
