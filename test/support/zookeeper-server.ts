/**
 * A real ZooKeeper 3.9 (one node) from Maven Central's jars, for tests of replicated tables. The jars are fetched once into the
 * cache of the launcher; a missing tool fails with the command that installs it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { probeKeeper } from '../../src/lib/signals/replicas/keeper.ts';

const version = '3.9.4';
const here = join(dirname(fileURLToPath(import.meta.url)), 'zookeeper');

/** The launcher's cache, where large parts of tests are kept between runs. */
export function testCache(): string {
  return process.env.TORGHUT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'torghut');
}

function zooKeeperJars(): string {
  const folder = join(testCache(), `zookeeper-${version}`, 'lib');
  if (existsSync(folder)) return folder;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(dirname(folder), { recursive: true });
  try {
    execFileSync(
      'mvn',
      ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${fresh}`, '-f', join(here, 'pom.xml')],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
  } catch (error) {
    throw new Error(
      `cannot fetch ZooKeeper's jars: needs Java and Maven (apt-get install default-jre-headless maven): ${error}`,
    );
  }
  keepFolder(fresh, folder);
  return folder;
}

/** Gives a whole folder its name in one step; who comes second takes what is there. */
export function keepFolder(fresh: string, folder: string): void {
  try {
    renameSync(fresh, folder);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    rmSync(fresh, { recursive: true, force: true });
  }
}

export interface ZooKeeperServer {
  port: number;
  /** host:port */
  address: string;
  /** Ends it by SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port. @param options.isEmpty with nothing of what it held: its volume is lost */
  restart(options?: { isEmpty?: boolean }): Promise<void>;
  /** Stops its process where it is, and lets it go on. */
  freeze(): void;
  thaw(): void;
  /** Deletes a path with everything below it. */
  wipe(path: string): void;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function startZooKeeper(): Promise<ZooKeeperServer> {
  const jars = zooKeeperJars();
  const folder = mkdtempSync(join(tmpdir(), 'torghut-zookeeper-'));
  const data = join(folder, 'data');
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const config = join(folder, 'zoo.cfg');
  writeFileSync(
    config,
    [
      // Sessions as short as half a second, so that a test sees them end.
      'tickTime=250',
      `dataDir=${data}`,
      `clientPort=${port}`,
      'clientPortAddress=127.0.0.1',
      'admin.enableServer=false',
      '4lw.commands.whitelist=ruok,srvr',
    ].join('\n'),
  );
  const java = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', `${jars}/*`];
  const logFile = join(folder, 'zookeeper.log');
  let child: ChildProcess;
  const start = async () => {
    const log = openSync(logFile, 'a');
    child = spawn('java', [...java, 'org.apache.zookeeper.server.ZooKeeperServerMain', config], {
      stdio: ['ignore', log, log],
    });
    const deadline = Date.now() + 60_000;
    while ((await probeKeeper(address)).mode === null) {
      const isOver = child.exitCode !== null || Date.now() > deadline;
      if (isOver) throw new Error(`ZooKeeper did not start: ${readFileSync(logFile, 'utf8').slice(-2000)}`);
      await delay(50);
    }
  };
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  return {
    port,
    address,
    kill,
    restart: async ({ isEmpty = false } = {}) => {
      await kill();
      if (isEmpty) rmSync(data, { recursive: true, force: true });
      await start();
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    wipe: (path) => {
      execFileSync('java', [...java, 'org.apache.zookeeper.ZooKeeperMain', '-server', address, 'deleteall', path], {
        stdio: 'ignore',
      });
    },
    stop: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
