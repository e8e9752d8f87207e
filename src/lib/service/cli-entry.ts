/**
 * How to start this CLI again as a child process: the supervisor, commands that bring an embedded part, and tests.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface CliCommand {
  /** The program, this process's own Node. */
  file: string;
  /** Its first arguments; the command's own follow. */
  args: string[];
}

/**
 * The CLI of this build: TORGHUT_CLI_ENTRY when set, else the script this process runs when it is the CLI, else the
 * checkout's src/cli.ts, which Node runs directly (tests).
 */
export function cliCommand(env: NodeJS.ProcessEnv = process.env): CliCommand {
  return { file: process.execPath, args: [cliEntry(env)] };
}

function cliEntry(env: NodeJS.ProcessEnv): string {
  if (env.TORGHUT_CLI_ENTRY) return env.TORGHUT_CLI_ENTRY;
  const script = process.argv[1];
  if (script !== undefined && /[\\/]cli\.(js|ts)$/.test(script)) return script;
  // Beside the bundle's chunks, or three folders up in the sources.
  const here = dirname(fileURLToPath(import.meta.url));
  const bundled = join(here, 'cli.js');
  return existsSync(bundled) ? bundled : join(here, '..', '..', 'cli.ts');
}
