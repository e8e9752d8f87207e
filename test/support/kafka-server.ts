/**
 * A real Kafka broker (KRaft, one node) from Maven Central's jars, for tests. The jars are fetched once into the cache of the
 * launcher; a missing tool fails with the command that installs it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const version = '4.4.0';
const here = join(dirname(fileURLToPath(import.meta.url)), 'kafka');

/** Folder of the broker's jars; fetched when it is not there. */
export function kafkaJars(): string {
  const cache = process.env.TORGHUT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'torghut');
  const folder = join(cache, `kafka-${version}`, 'lib');
  if (existsSync(join(folder, '.complete'))) return folder;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(dirname(folder), { recursive: true });
  try {
    execFileSync(
      'mvn',
      ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${fresh}`, '-f', join(here, 'pom.xml')],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    );
  } catch (error) {
    throw new Error(
      `cannot fetch Kafka's jars: needs Java and Maven (apt-get install default-jre-headless maven): ${error}`,
    );
  }
  writeFileSync(join(fresh, '.complete'), version);
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
  return folder;
}

export interface KafkaServer {
  /** host:port of the client listener. */
  bootstrap: string;
  /** Ends the broker by SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
  pid(): number;
}

export interface KafkaServerOptions {
  /** SASL_PLAINTEXT with SCRAM-SHA-512 for this user. */
  user?: string;
  password?: string;
  /** Broker settings on top, by name. */
  settings?: Record<string, string | number>;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export async function startKafka(options: KafkaServerOptions = {}): Promise<KafkaServer> {
  const jars = kafkaJars();
  const folder = mkdtempSync(join(tmpdir(), 'torghut-kafka-'));
  const [port, controllerPort] = (await freePorts(2)) as [number, number];
  const hasSasl = options.user !== undefined;
  const properties = join(folder, 'server.properties');
  writeFileSync(properties, serverProperties(folder, port, controllerPort, options), { mode: 0o600 });
  const java = (args: string[], heap: string) => [
    `-Xmx${heap}`,
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    `-Dlog4j2.configurationFile=${join(here, 'log4j2.properties')}`,
    `-Dkafka.logs.dir=${folder}`,
    '-cp',
    `${jars}/*`,
    ...args,
  ];
  const clusterId = randomBytes(16).toString('base64url');
  const scram = hasSasl ? ['--add-scram', `SCRAM-SHA-512=[name=${options.user},password=${options.password}]`] : [];
  execFileSync(
    'java',
    // One word: an id may begin with a dash.
    java(['kafka.tools.StorageTool', 'format', `--cluster-id=${clusterId}`, '--config', properties, ...scram], '128m'),
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  let child: ChildProcess | undefined;
  const logFile = join(folder, 'broker.log');
  const start = async () => {
    const log = openSync(logFile, 'a');
    child = spawn('java', java(['kafka.Kafka', properties], '512m'), { stdio: ['ignore', log, log] });
    await reachable(port, child, logFile);
  };
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child?.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    bootstrap: `127.0.0.1:${port}`,
    kill,
    restart: start,
    stop: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
    pid: () => child?.pid ?? 0,
  };
}

async function reachable(port: number, child: ChildProcess, logFile: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Kafka ended: ${readFileSync(logFile, 'utf8').slice(-2000)}`);
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return;
    if (Date.now() > deadline)
      throw new Error(`Kafka did not open port ${port}: ${readFileSync(logFile, 'utf8').slice(-2000)}`);
    await delay(100);
  }
}

function serverProperties(folder: string, port: number, controllerPort: number, options: KafkaServerOptions): string {
  const hasSasl = options.user !== undefined;
  const lines: Record<string, string | number> = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `CLIENT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${port}`,
    'listener.security.protocol.map': `CLIENT:${hasSasl ? 'SASL_PLAINTEXT' : 'PLAINTEXT'},CONTROLLER:PLAINTEXT`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'CLIENT',
    'log.dirs': join(folder, 'data'),
    'auto.create.topics.enable': 'false',
    'default.replication.factor': 1,
    'min.insync.replicas': 1,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'group.initial.rebalance.delay.ms': 0,
    // Tests use short sessions so that a killed member is seen soon.
    'group.min.session.timeout.ms': 1000,
    'broker.session.timeout.ms': 2000,
    'broker.heartbeat.interval.ms': 500,
    // Retention and compaction are looked at often enough for a test to see them.
    'log.retention.check.interval.ms': 1000,
    'log.cleaner.backoff.ms': 500,
    'log.cleaner.dedupe.buffer.size': 33_554_432,
    'num.network.threads': 2,
    'num.io.threads': 2,
    'num.recovery.threads.per.data.dir': 1,
    ...options.settings,
    ...(hasSasl && {
      'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
      'sasl.mechanism.inter.broker.protocol': 'SCRAM-SHA-512',
      'listener.name.client.sasl.enabled.mechanisms': 'SCRAM-SHA-512',
      'listener.name.client.scram-sha-512.sasl.jaas.config': `org.apache.kafka.common.security.scram.ScramLoginModule required username="${options.user}" password="${options.password}";`,
    }),
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n');
}
