/**
 * The generated password of an embedded store: made once, kept in the home with mode 0600, so that it survives restarts and
 * clients keep working.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { registerSecret } from '../lib/service/logging.ts';

/** Reads the password file, or makes it. Two processes at once agree on one password. */
export function keptPassword(path: string): string {
  const read = (): string | undefined => {
    try {
      return readFileSync(path, 'utf8').trim() || undefined;
    } catch {
      return undefined;
    }
  };
  let password = read();
  if (password === undefined) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
    try {
      // A link fails when somebody else was first; then theirs counts.
      linkSync(draft, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    password = read();
  }
  if (password === undefined) throw new Error('the password file cannot be read back');
  registerSecret(password);
  return password;
}
