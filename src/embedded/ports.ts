/**
 * The port of an embedded store. A restarted store takes the port it had before when it is still free, so that clients with
 * open pools find it again; otherwise any free one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { usageError } from '../lib/service/errors.ts';

/** A port given on the command line; 0 means "choose". @throws `port_invalid` (exit 2) */
export function parsePort(text: string): number {
  const port = Number(text);
  if (text.trim() !== '' && Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw usageError({
    code: 'port_invalid',
    what: `${text} is not a port`,
    why: 'a port is a whole number from 0 to 65535',
    next: 'give a free port, or 0 to have one chosen',
  });
}

/** The port that the store in this directory had last. */
export function lastPort(directory: string): number | undefined {
  try {
    const port = Number(readFileSync(join(directory, 'port'), 'utf8'));
    return Number.isInteger(port) && port > 0 && port <= 65_535 ? port : undefined;
  } catch {
    return undefined;
  }
}

export function rememberPort(directory: string, port: number): void {
  writeFileSync(join(directory, 'port'), `${port}\n`);
}

/** Can this loopback port be taken right now? */
export async function isPortFree(port: number): Promise<boolean> {
  return (await tryListen(port)) !== undefined;
}

/** A loopback port that is free right now. */
export async function freePort(): Promise<number> {
  const port = await tryListen(0);
  if (port === undefined) throw new Error('no free loopback port');
  return port;
}

function tryListen(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      const bound = typeof address === 'object' && address ? address.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}
