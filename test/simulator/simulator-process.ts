/** Starts the simulator as its own process and ends it; a JSON stream client with its messages kept. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

export interface SimulatorProcess {
  port: number;
  url: string;
  child: ChildProcess;
  stderr(): string;
  get(path: string, headers?: Record<string, string>): Promise<{ status: number; body: string; headers: Headers }>;
  status(): Promise<SimulatorStatus>;
  fault(body: Record<string, unknown>): Promise<void>;
  /** Ends the process and waits for it. */
  end(signal?: NodeJS.Signals): Promise<void>;
}

export interface SimulatorStatus {
  input: Record<string, number>;
  sent_total: number;
  end_of_input: boolean;
  last_event_ts: string | null;
  pending: number;
  market_now: string;
  reached: string;
  symbols: string[];
  connections: number;
}

const entry = new URL('./simulator-child.ts', import.meta.url).pathname;
const folders: string[] = [];

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'torghut-simulator-'));
  folders.push(folder);
  return folder;
}

export function removeTemporaryFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

export const keyHeaders = { 'APCA-API-KEY-ID': 'SIM1', 'APCA-API-SECRET-KEY': 'secret' };

/** Runs the command until it ends; for arguments that must be refused. */
export async function runToEnd(
  args: readonly string[],
): Promise<{ code: number | null; stderr: string; stdout: string }> {
  const child = launch(args);
  let stderr = '';
  let stdout = '';
  child.stderr?.on('data', (piece: Buffer) => {
    stderr += piece;
  });
  child.stdout?.on('data', (piece: Buffer) => {
    stdout += piece;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stderr, stdout };
}

function launch(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [entry, ...args], {
    env: {
      ...process.env,
      TORGHUT_HOME: temporaryFolder(),
      TORGHUT_CLOCK: '',
      TORGHUT_RUN_HOME: '',
      TORGHUT_PARENT: 'stdin',
      ...env,
    },
    // The pipe ends the child with the test process, also when a test failed half way.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

export async function startSimulator(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<SimulatorProcess> {
  const child = launch([...args, '-o', 'json'], env);
  let stderr = '';
  child.stderr?.on('data', (piece: Buffer) => {
    stderr += piece;
  });
  const closed = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    let out = '';
    child.stdout?.on('data', (piece: Buffer) => {
      out += piece;
      const line = out.split('\n')[0] ?? '';
      if (out.includes('\n')) resolve((JSON.parse(line) as { port: number }).port);
    });
    child.on('close', (code) => reject(new Error(`the simulator ended with ${code}: ${stderr}`)));
  });
  const url = `http://127.0.0.1:${port}`;
  const get = async (path: string, headers: Record<string, string> = keyHeaders) => {
    const response = await fetch(`${url}${path}`, { headers });
    return { status: response.status, body: await response.text(), headers: response.headers };
  };
  return {
    port,
    url,
    child,
    stderr: () => stderr,
    get,
    status: async () => JSON.parse((await get('/_sim/status')).body) as SimulatorStatus,
    fault: async (body) => {
      const response = await fetch(`${url}/_sim/faults`, { method: 'POST', body: JSON.stringify(body) });
      if (response.status !== 200) throw new Error(await response.text());
    },
    end: async (signal = 'SIGTERM') => {
      child.kill(signal);
      await closed;
    },
  };
}

export type StreamMessage = Record<string, unknown> & { T: string };

export class StreamClient {
  readonly messages: StreamMessage[] = [];
  /** Text of every frame. */
  readonly frames: string[] = [];
  /** 'frame', 'pong' and 'close' in the order in which they came. */
  readonly happened: string[] = [];
  closeCode: number | undefined;
  readonly socket: WebSocket;

  constructor(simulator: SimulatorProcess, path: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(`ws://127.0.0.1:${simulator.port}${path}`, { headers, perMessageDeflate: false });
    this.socket.on('message', (data) => {
      const text = data.toString();
      this.frames.push(text);
      this.happened.push('frame');
      this.messages.push(...(JSON.parse(text) as StreamMessage[]));
    });
    this.socket.on('pong', () => this.happened.push('pong'));
    this.socket.on('error', () => undefined);
    this.socket.on('close', (code) => {
      this.closeCode = code;
      this.happened.push('close');
    });
  }

  send(message: unknown): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** Waits until a message fits. */
  async until(fits: (message: StreamMessage) => boolean, limitMs = 10_000): Promise<StreamMessage> {
    const found = await waitFor(() => this.messages.find(fits), limitMs);
    return found;
  }

  error(code: number): Promise<StreamMessage> {
    return this.until((message) => message.T === 'error' && message.code === code);
  }

  async authenticate(keyId = 'SIM1'): Promise<this> {
    await this.until((message) => message.msg === 'connected');
    this.send({ action: 'auth', key: keyId, secret: 'secret' });
    await this.until((message) => message.msg === 'authenticated');
    return this;
  }

  async subscribe(channels: Record<string, string[]>): Promise<StreamMessage> {
    const before = this.messages.filter((message) => message.T === 'subscription').length;
    this.send({ action: 'subscribe', ...channels });
    return waitFor(() => this.messages.filter((message) => message.T === 'subscription')[before]);
  }

  async close(): Promise<void> {
    this.socket.close(1000);
    await waitFor(() => (this.closeCode === undefined ? undefined : true));
  }
}

/** Polls until a value is there. */
export async function waitFor<T>(
  value: () => T | undefined | Promise<T | undefined>,
  limitMs = 10_000,
): Promise<NonNullable<T>> {
  const started = performance.now();
  for (;;) {
    const found = await value();
    if (found !== undefined && found !== null && found !== false) return found as NonNullable<T>;
    if (performance.now() - started > limitMs) throw new Error(`nothing came within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
