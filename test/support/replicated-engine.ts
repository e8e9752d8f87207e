/**
 * The real engine with a keeper, behind the project's own front, as a process of its own: `replicated-engine.ts ADDON DATA
 * CONFIG` prints its port. `startReplicatedEngine` starts one.
 * Facts (engine 26.7 of chdb 3.4.0): a config file is taken, with keeper, macros and clusters; `interserver_http_port` in it has
 * no effect, so replicated tables stay read-only: the engine has no code that would set the address. `permissiveAddon` is a copy
 * of the library, for tests alone, in which the two jumps to the refusal of an empty address are taken out; there replicated
 * tables work, but for fetching parts from another server, which has nothing to serve them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../src/embedded/clickhouse/engine.ts';
import { createFront } from '../../src/embedded/clickhouse/front.ts';
import { findClickHouseEngine } from '../../src/embedded/parts.ts';
import type { ServiceEndpoint } from '../../src/lib/service/home.ts';
import { keepFolder, testCache } from './zookeeper-server.ts';

const credentials = { user: 'torghut', password: 'test' };

export interface ReplicatedEngine {
  endpoint: ServiceEndpoint;
  kill(): Promise<void>;
  /** Starts it again on its data; the port is another one. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface ReplicatedEngineOptions {
  keeperPort: number;
  replica?: string;
  addon?: string;
}

export async function startReplicatedEngine(options: ReplicatedEngineOptions): Promise<ReplicatedEngine> {
  const folder = mkdtempSync(join(tmpdir(), 'torghut-engine-'));
  const config = join(folder, 'config.xml');
  writeFileSync(config, configOf(options));
  const addon = options.addon ?? findClickHouseEngine();
  let child: ChildProcess;
  const engine: { endpoint: ServiceEndpoint } = {
    endpoint: { name: 'clickhouse', url: '', pid: 0, start_ticks: '', ...credentials } as ServiceEndpoint,
  };
  const start = async () => {
    child = spawn(process.execPath, [fileURLToPath(import.meta.url), addon, join(folder, 'data'), config], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
    });
    const port = await new Promise<string>((resolve, reject) => {
      child.stdout?.setEncoding('utf8').once('data', resolve);
      child.once('exit', (code) => reject(new Error(`the engine ended with ${code}`)));
    });
    engine.endpoint = { ...engine.endpoint, url: `http://127.0.0.1:${port.trim()}` };
  };
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    get endpoint() {
      return engine.endpoint;
    },
    kill,
    restart: async () => {
      await kill();
      await start();
    },
    stop: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function configOf({ keeperPort, replica = 'r1' }: ReplicatedEngineOptions): string {
  return `<clickhouse>
  <zookeeper>
    <node><host>127.0.0.1</host><port>${keeperPort}</port></node>
    <session_timeout_ms>2000</session_timeout_ms>
    <operation_timeout_ms>1000</operation_timeout_ms>
  </zookeeper>
  <macros><cluster>default</cluster><shard>0</shard><replica>${replica}</replica></macros>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <interserver_http_port>9009</interserver_http_port>
  <remote_servers><default><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></default></remote_servers>
</clickhouse>
`;
}

/** test rax; je; movzwl 0x168(r14); test ax; je; test cl: how 26.7 asks for host and port before it refuses. */
const asking = Buffer.from('4885c07454410fb78668010000' + '6685c07447' + '84c9781a4981c650010000', 'hex');
const jumps = [3, 16];

/** Path of the permissive copy of the engine; undefined where this build has no such place (another version or machine). */
export function permissiveAddon(): string | undefined {
  const addon = findClickHouseEngine();
  const folder = join(testCache(), 'engine-replicas-26.7.2.1');
  const copy = join(folder, basename(addon));
  if (existsSync(copy)) return copy;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(fresh, { recursive: true });
  for (const name of readdirSync(dirname(addon))) copyFileSync(join(dirname(addon), name), join(fresh, name));
  const isPatched = patch(join(fresh, 'libchdb.so'));
  if (!isPatched) {
    rmSync(fresh, { recursive: true, force: true });
    return undefined;
  }
  keepFolder(fresh, folder);
  return copy;
}

function patch(library: string): boolean {
  if (!existsSync(library)) return false;
  const file = openSync(library, 'r+');
  try {
    const found: number[] = [];
    const piece = Buffer.alloc(64 * 1024 * 1024);
    for (let at = 0; ; at += piece.length - asking.length) {
      const read = readSync(file, piece, 0, piece.length, at);
      const part = piece.subarray(0, read);
      for (let i = part.indexOf(asking); i >= 0; i = part.indexOf(asking, i + 1)) found.push(at + i);
      if (read < piece.length) break;
    }
    const places = [...new Set(found)];
    if (places.length !== 1) return false;
    for (const jump of jumps) writeSync(file, Buffer.from([0x90, 0x90]), 0, 2, (places[0] as number) + jump);
    return true;
  } finally {
    closeSync(file);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , addon, data, config] = process.argv as [string, string, string, string, string];
  const engine = await openEngine(addon, data, [`--config-file=${config}`]);
  const connection = engine.connect();
  await connection.query('CREATE DATABASE IF NOT EXISTS torghut');
  connection.close();
  const { server } = createFront({ engine, ...credentials, poolThreads: 16 });
  server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as { port: number }).port}\n`));
}
