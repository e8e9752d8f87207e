/** A file system of its own, too small for what comes: a real full disk for tests. Needs the right to mount (root). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** @param size as `mount -t tmpfs` takes it: `256k` */
export function smallDisk(size: string): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'torghut-small-'));
  const args = ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path];
  try {
    execFileSync('mount', args, { stdio: 'pipe' });
  } catch (error) {
    rmSync(path, { recursive: true });
    throw new Error(`this test needs a small file system; run as root: mount ${args.join(' ')} (${error})`);
  }
  return {
    path,
    remove: () => {
      execFileSync('umount', ['-l', path]);
      rmSync(path, { recursive: true });
    },
  };
}
