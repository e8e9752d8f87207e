/**
 * The Postgres binaries of the optional package, made startable, and as whom they run.
 * Facts (measured): the package's shared libraries need symbolic links that its install script makes, which npm 12 does not
 * run; Postgres refuses to run as root. As root we use a user namespace (no other user, no chown, works below folders of mode
 * 0700) and fall back to the user postgres or nobody where namespaces are not allowed.
 */
import { execFile } from 'node:child_process';
import { chmodSync, lchownSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { TorghutError } from '../../lib/service/errors.ts';

const run = promisify(execFile);

const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  /** Environment that lets the binaries find their libraries. */
  env: Record<string, string>;
}

/**
 * Makes the library links inside the package, or in `scratch` when the package's folder cannot be written.
 * @param native folder with bin, lib, share (embedded/parts.ts)
 */
export function preparePostgres(native: string, scratch: string): PostgresBinaries {
  const links = linksSchema.parse(JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')));
  const root = dirname(native);
  const env: Record<string, string> = {};
  const link = (source: string, at: string) => {
    try {
      symlinkSync(source, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  };
  try {
    for (const { source, target } of links) {
      link(relative(dirname(resolve(root, target)), resolve(root, source)), resolve(root, target));
    }
  } catch {
    mkdirSync(scratch, { recursive: true });
    for (const { source, target } of links) link(resolve(root, source), join(scratch, basename(target)));
    env.LD_LIBRARY_PATH = `${scratch}:${join(native, 'lib')}`;
  }
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres'), env };
}

/** As whom the binaries run. */
export interface RunAs {
  /** Arguments in front of the program. */
  prefix: string[];
  uid?: number;
  gid?: number;
  /** Who has to own the data, by the numbers the file system shows. */
  owner: { uid: number; gid: number };
}

/** Is a program there and does it end with 0? */
async function works(file: string, args: string[]): Promise<boolean> {
  try {
    await run(file, args, { timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

const namespaceArgs = ['--user', '--map-user=65534', '--map-group=65534', '--'];

/** Finds a way to run Postgres that is not root. @throws `postgres_as_root` (exit 3) when there is none */
export async function chooseRunAs(): Promise<RunAs> {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  if (uid !== 0) return { prefix: [], owner: { uid, gid } };
  if (await works('unshare', [...namespaceArgs, 'true'])) {
    return { prefix: ['unshare', ...namespaceArgs], owner: { uid: 0, gid: 0 } };
  }
  const other = otherUser();
  if (!other) {
    throw new TorghutError({
      code: 'postgres_as_root',
      what: 'Postgres cannot be started by root',
      why: 'user namespaces are not allowed here and there is no user named postgres or nobody',
      next: 'run torghut as an ordinary user, or set DB_DSN to a server of yours',
      exitCode: 3,
    });
  }
  return { prefix: [], ...other, owner: other };
}

function otherUser(): { uid: number; gid: number } | undefined {
  const rows = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const row = rows.find((fields) => fields[0] === 'postgres') ?? rows.find((fields) => fields[0] === 'nobody');
  return row ? { uid: Number(row[2]), gid: Number(row[3]) } : undefined;
}

/** `setpriv --pdeathsig` where the machine has it: the kernel ends Postgres when our process dies, whatever killed it. */
export async function deathSignalPrefix(): Promise<string[]> {
  const args = ['--pdeathsig', 'QUIT', '--'];
  return (await works('setpriv', [...args, 'true'])) ? ['setpriv', ...args] : [];
}

/** Gives a directory tree to the user that Postgres runs as, when it belongs to somebody else; mode 0700 at its top. */
export function giveTree(directory: string, owner: { uid: number; gid: number }): void {
  chmodSync(directory, 0o700);
  if (statSync(directory).uid === owner.uid) return;
  lchownSync(directory, owner.uid, owner.gid);
  for (const entry of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    lchownSync(join(directory, entry), owner.uid, owner.gid);
  }
}

/** Lets every user pass a folder of ours without seeing what is in it. */
export function letPass(directory: string): void {
  const mode = statSync(directory).mode & 0o7777;
  if ((mode & 0o011) !== 0o011) chmodSync(directory, mode | 0o011);
}
