/**
 * A real schema registry of the Confluent API (Apicurio, in memory) from Maven Central, for tests. It is fetched once into the
 * cache of the launcher.
 */
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freshHome } from './torghut.ts';

// The newest that runs on Java 17; later ones ask for 21.
const version = '3.0.9';

function registryFolder(): string {
  const cache = process.env.TORGHUT_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'torghut');
  const folder = join(cache, `apicurio-${version}`);
  if (existsSync(join(folder, '.complete'))) return folder;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(dirname(folder), { recursive: true });
  const artifact = `io.apicurio:apicurio-registry-app:${version}:tar.gz:all`;
  const quiet: { stdio: StdioOptions } = { stdio: ['ignore', 'ignore', 'inherit'] };
  try {
    execFileSync('mvn', ['-q', '-B', 'dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${fresh}`], quiet);
  } catch (error) {
    throw new Error(`cannot fetch the schema registry: needs Java 17 and Maven (apt-get install maven): ${error}`);
  }
  const archive = join(fresh, `apicurio-registry-app-${version}-all.tar.gz`);
  execFileSync('tar', ['-xzf', archive, '-C', fresh], quiet);
  rmSync(archive);
  writeFileSync(join(fresh, '.complete'), version);
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
  return folder;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface SchemaRegistryServer {
  /** Address of the Confluent API. */
  url: string;
  stop(): Promise<void>;
}

export async function startSchemaRegistry(): Promise<SchemaRegistryServer> {
  const jar = join(registryFolder(), `apicurio-registry-app-${version}-runner.jar`);
  const folder = freshHome();
  const port = await freePort();
  const logFile = join(folder, 'registry.log');
  const log = openSync(logFile, 'a');
  const settings = {
    'quarkus.http.host': '127.0.0.1',
    'quarkus.http.port': port,
    'quarkus.management.enabled': false,
    'apicurio.storage.kind': 'sql',
    'apicurio.storage.sql.kind': 'h2',
    'apicurio.datasource.url': 'jdbc:h2:mem:registry',
    'user.home': folder,
  };
  const options = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  const jvm = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  const child: ChildProcess = spawn('java', [...jvm, ...options, '-jar', jar], { stdio: ['ignore', log, log] });
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`;
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  for (let tries = 0; ; tries++) {
    const answer = await fetch(`${url}/subjects`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    if (answer?.ok) return { url, stop };
    if (child.exitCode !== null || tries > 600) {
      const words = readFileSync(logFile, 'utf8').slice(-2_000);
      await stop();
      throw new Error(`the schema registry does not answer: ${words}`);
    }
    await delay(100);
  }
}
