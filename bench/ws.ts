/**
 * Messages per CPU-second of `torghut ws`, from the socket to the committed log, against a bare loop of `ws` + JSON.parse over
 * the same frames in the same run. Recorded data from TORGHUT_DATA; the feeder is a process of its own and is not counted.
 * Usage: TORGHUT_DATA=… node bench/ws.ts [messages per kind, default 150000] [messages per frame, default 8]
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type WebSocket as Socket, WebSocket, WebSocketServer } from 'ws';
import { cliCommand } from '../src/lib/service/cli-entry.ts';
import { ownClockFile } from '../src/lib/service/clock.ts';

const self = fileURLToPath(import.meta.url);
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function frames(perKind: number, perFrame: number): { frames: string[]; messages: number } {
  const folder = join(process.env.TORGHUT_DATA ?? '', 'us-equities-2013-10-08');
  const lines: string[] = [];
  const read = (name: string) =>
    gunzipSync(readFileSync(join(folder, name)))
      .toString('utf8')
      .split('\n')
      .slice(0, perKind);
  const [trades, quotes] = [read('trades.ndjson.gz'), read('quotes.ndjson.gz')];
  for (let i = 0; i < perKind; i++) {
    if (trades[i]) lines.push(trades[i] as string);
    if (quotes[i]) lines.push(quotes[i] as string);
  }
  const out: string[] = [];
  for (let i = 0; i < lines.length; i += perFrame) out.push(`[${lines.slice(i, i + perFrame).join(',')}]`);
  return { frames: out, messages: lines.length };
}

/** Speaks just enough of the protocol, serves an empty history, and sends the frames when told. */
async function feeder(perKind: number, perFrame: number): Promise<void> {
  const data = frames(perKind, perFrame);
  const server = createServer((request, response) => {
    const kind = /stocks\/(\w+)/.exec(request.url ?? '')?.[1] ?? 'trades';
    response.end(`{"${kind}":{},"next_page_token":null}`);
  });
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  let client: Socket | undefined;
  sockets.on('connection', (socket) => {
    client = socket;
    socket.send('[{"T":"success","msg":"connected"}]');
    socket.on('message', (text) => {
      const { action, ...lists } = JSON.parse(String(text)) as { action: string; trades?: string[] };
      if (action === 'auth') socket.send('[{"T":"success","msg":"authenticated"}]');
      const implied = { corrections: lists.trades ?? [], cancelErrors: lists.trades ?? [] };
      if (action === 'subscribe') socket.send(JSON.stringify([{ T: 'subscription', ...lists, ...implied }]));
    });
  });
  process.on('message', async () => {
    for (const frame of data.frames) {
      client?.send(frame);
      while ((client?.bufferedAmount ?? 0) > 4_000_000) await wait(1);
    }
  });
  server.listen(0, '127.0.0.1', () => {
    process.send?.({ port: (server.address() as AddressInfo).port, messages: data.messages });
  });
}

/** The reference: a socket, JSON.parse of each frame, a counter. */
async function bare(port: number, messages: number): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v2/sip`, { perMessageDeflate: false });
  let seen = 0;
  let started = process.cpuUsage();
  let startedMs = performance.now();
  socket.on('message', (text) => {
    const list = JSON.parse(String(text)) as { T: string; msg?: string }[];
    if (list[0]?.msg === 'connected') process.send?.('ready');
    else {
      if (seen === 0) {
        started = process.cpuUsage();
        startedMs = performance.now();
      }
      seen += list.length;
    }
    if (seen >= messages) {
      const { user, system } = process.cpuUsage(started);
      process.send?.({ cpuSeconds: (user + system) / 1e6, wallSeconds: (performance.now() - startedMs) / 1_000 });
    }
  });
}

const answer = <T>(child: ChildProcess) =>
  new Promise<T>((resolve) => child.once('message', (value) => resolve(value as T)));

/** User and system CPU seconds of a process, and its resident megabytes. */
function usage(pid: number): { cpuSeconds: number; residentMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const residentKb = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, residentMb: Number(residentKb) / 1_024 };
}

async function forwarder(port: number, messages: number, send: () => void) {
  const home = mkdtempSync(join(tmpdir(), 'torghut-bench-ws-'));
  const clock = ownClockFile(join(home, 'clock'), BigInt(Date.parse('2013-10-08T19:00:00Z')) * 1_000_000n, 1);
  const renewing = setInterval(() => clock.renew(), 50);
  const cli = cliCommand();
  const child = spawn(cli.file, [...cli.args, 'ws', '--home', home, '--port', '0'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      LOG_LEVEL: 'error',
      TORGHUT_CLOCK: join(home, 'clock'),
      APCA_API_KEY_ID: 'SIM-BENCH',
      APCA_API_SECRET_KEY: 'SIM-BENCH-SECRET',
      ALPACA_FEED: 'sip',
      ALPACA_STREAM_URL: `ws://127.0.0.1:${port}`,
      ALPACA_BASE_URL: `http://127.0.0.1:${port}`,
      SYMBOLS: 'AIG,BAC,IBM,SPY',
    },
  });
  const pid = child.pid as number;
  interface Status {
    state: string;
    acknowledged: { trades: number; quotes: number };
    gaps: { open: number };
  }
  const status = async (): Promise<Status | undefined> => {
    try {
      const { url } = JSON.parse(readFileSync(join(home, 'services', 'ws.json'), 'utf8')) as { url: string };
      return (await (await fetch(`${url}/status`)).json()) as Status;
    } catch {
      return undefined;
    }
  };
  try {
    for (let now = await status(); now?.state !== 'ready' || now.gaps.open > 0; now = await status()) await wait(20);
    const before = usage(pid);
    const startedMs = performance.now();
    send();
    let now = await status();
    while ((now?.acknowledged.trades ?? 0) + (now?.acknowledged.quotes ?? 0) < messages) {
      await wait(20);
      now = await status();
    }
    const after = usage(pid);
    return {
      cpuSeconds: after.cpuSeconds - before.cpuSeconds,
      wallSeconds: (performance.now() - startedMs) / 1_000,
      residentMb: after.residentMb,
    };
  } finally {
    child.kill('SIGKILL');
    clearInterval(renewing);
    clock.close();
    rmSync(home, { recursive: true, force: true });
  }
}

async function main(perKind: number, perFrame: number): Promise<void> {
  const feed = fork(self, ['feeder', String(perKind), String(perFrame)]);
  const { port, messages } = await answer<{ port: number; messages: number }>(feed);
  const round = (value: number) => Math.round(value * 100) / 100;
  const rows: Record<string, unknown>[] = [];
  try {
    for (let turn = 1; turn <= 3; turn++) {
      const loop = fork(self, ['bare', String(port), String(messages)]);
      await answer(loop);
      feed.send('go');
      const reference = await answer<{ cpuSeconds: number; wallSeconds: number }>(loop);
      loop.kill();
      const ours = await forwarder(port, messages, () => feed.send('go'));
      rows.push({
        turn,
        messages,
        bare_per_cpu_second: Math.round(messages / reference.cpuSeconds),
        ws_per_cpu_second: Math.round(messages / ours.cpuSeconds),
        share: round(reference.cpuSeconds / ours.cpuSeconds),
        ws_per_second: Math.round(messages / ours.wallSeconds),
        resident_mb: Math.round(ours.residentMb),
      });
    }
  } finally {
    feed.kill();
  }
  process.stdout.write(`${JSON.stringify({ messages_per_frame: perFrame, runs: rows }, undefined, 2)}\n`);
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'feeder') await feeder(Number(rest[0]), Number(rest[1]));
else if (mode === 'bare') await bare(Number(rest[0]), Number(rest[1]));
else await main(Number(mode ?? 150_000), Number(rest[0] ?? 8));
