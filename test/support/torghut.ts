/** Runs the CLI as a user would, as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The built CLI when bin/test named it, else the sources. */
export const cliEntry = process.env.TORGHUT_CLI_ENTRY ?? resolve('src/cli.ts');

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Running {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  done: Promise<Finished>;
}

/** A home root that nothing else uses. */
export function freshHome(): string {
  return mkdtempSync(join(tmpdir(), 'torghut-home-'));
}

/** Environment of a test's process: the caller's, without settings that point elsewhere. */
export function testEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, TORGHUT_CLI_ENTRY: cliEntry, NO_COLOR: '1' };
  for (const name of Object.keys(env)) {
    if (/^(TRADING|TA|KAFKA|APCA|ALPACA|LLM|INGEST|DB)_/.test(name) || /^TORGHUT_(RUN|CLOCK|PARENT|HOME)/.test(name)) {
      delete env[name];
    }
  }
  return { ...env, ...extra };
}

/** @param entry another installation's program */
export function startTorghut(args: readonly string[], env: NodeJS.ProcessEnv = {}, entry = cliEntry): Running {
  const child = spawn(process.execPath, [entry, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: testEnvironment(env),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const done = once(child, 'close').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
    stdout,
    stderr,
  }));
  return { child, stdout: () => stdout, stderr: () => stderr, done };
}

/** Runs a command to its end. */
export function torghut(args: readonly string[], env: NodeJS.ProcessEnv = {}, entry = cliEntry): Promise<Finished> {
  return startTorghut(args, env, entry).done;
}

/** Rows of `torghut … -o json`. @throws with the command's own words when it fails */
export async function torghutRows<T = Record<string, unknown>>(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<T[]> {
  const finished = await torghut([...args, '-o', 'json'], env);
  if (finished.code !== 0) throw new Error(`torghut ${args.join(' ')} ended with ${finished.code}: ${finished.stderr}`);
  return JSON.parse(finished.stdout) as T[];
}
