/**
 * The data directory of a Postgres server: made once, and how every program of Postgres is run.
 * Guarantees: a half-made directory never counts (it is made beside its place and renamed); the password reaches initdb by a
 * file of mode 0600 that is removed at once.
 */
import { spawn } from 'node:child_process';
import { chownSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TorghutError } from '../../lib/service/errors.ts';
import { giveTree, type PostgresBinaries, type RunAs } from './install.ts';

export const postgresUser = 'torghut';

export interface ClusterOptions {
  /** Folder of this store: data/, server.log. */
  directory: string;
  binaries: PostgresBinaries;
  password: string;
}

/** The arguments of a program behind its prefixes (namespace first: it changes credentials, which clears a death signal). */
export function commandLine(runAs: RunAs, deathSignal: string[], program: string, args: string[]): [string, string[]] {
  const [file, ...rest] = [...runAs.prefix, ...deathSignal, program, ...args];
  return [file as string, rest];
}

/** The user that a program runs as, where it is not ours. */
export function identity(runAs: RunAs): { uid?: number; gid?: number } {
  return runAs.uid !== undefined && runAs.gid !== undefined ? { uid: runAs.uid, gid: runAs.gid } : {};
}

/** Creates the cluster beside its place and renames it, so that a half-made one never counts. @throws `postgres_init_failed` (exit 3) */
export async function initialise(options: ClusterOptions, data: string, runAs: RunAs): Promise<void> {
  const draft = `${data}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  giveTree(draft, runAs.owner);
  const passwordFile = join(options.directory, 'password.init');
  writeFileSync(passwordFile, `${options.password}\n`, { mode: 0o600 });
  chownSync(passwordFile, runAs.owner.uid, runAs.owner.gid);
  const args = [
    '-D', draft, '-U', postgresUser, '--auth=scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--locale=C',
    '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--set', 'shared_buffers=32MB',
    '--set', 'dynamic_shared_memory_type=mmap',
  ]; // biome-ignore format: one command line
  const [file, rest] = commandLine(runAs, [], options.binaries.initdb, args);
  const child = spawn(file, rest, {
    cwd: '/',
    env: { ...baseEnv(), ...options.binaries.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...identity(runAs),
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const failure = await new Promise<string | undefined>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code) => resolve(code === 0 ? undefined : output.trim().split('\n').slice(-3).join(' ')));
  });
  rmSync(passwordFile, { force: true });
  if (failure !== undefined) {
    throw new TorghutError({
      code: 'postgres_init_failed',
      what: 'the Postgres data directory could not be created',
      why: failure,
      next: 'check free space and the rights of the folder; as root every parent folder must be passable',
      exitCode: 3,
    });
  }
  renameSync(draft, data);
}

/** Nothing of the caller's environment but where programs are. */
export function baseEnv(): Record<string, string> {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}
