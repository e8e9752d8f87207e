/**
 * Is a keeper alive? Asked in the four-letter words that ZooKeeper and ClickHouse Keeper both speak: `ruok` and `srvr`.
 * Guarantees: read-only, at most three machine seconds; a keeper that cannot be reached from here may still be reached by the
 * servers, so "no answer" and "bad answer" are told apart.
 */
import { connect } from 'node:net';
import { usageError } from '../../service/errors.ts';

export interface KeeperState {
  address: string;
  /** `refused`: it answers, but this word is switched off there. */
  answer: 'ok' | 'refused' | 'bad' | 'none';
  /** standalone, leader, follower; null when it does not say. */
  mode: string | null;
  why: string | null;
}

const wordMs = 3_000;

/** @throws `keeper_address_invalid` (exit 2) */
export function parseKeeperAddresses(text: string): string[] {
  const addresses = text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
  for (const address of addresses) {
    const port = Number(/^[\w.-]+:(\d+)$/.exec(address)?.[1]);
    if (port >= 1 && port <= 65_535) continue;
    throw usageError({
      code: 'keeper_address_invalid',
      what: `${address} is no address of a keeper`,
      next: 'give host:port, several separated by commas',
    });
  }
  return addresses;
}

function fourLetterWord(address: string, word: string): Promise<string> {
  const at = address.lastIndexOf(':');
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)) });
    let text = '';
    socket.setTimeout(wordMs, () => socket.destroy(new Error('no answer within 3 s')));
    socket.setEncoding('utf8');
    socket.once('connect', () => socket.write(word));
    socket.on('data', (part: string) => {
      text += part;
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
  });
}

export async function probeKeeper(address: string): Promise<KeeperState> {
  try {
    const answer = (await fourLetterWord(address, 'ruok')).trim();
    const isRefused = /not executed|not in the (white|allow)list/i.test(answer);
    if (answer !== 'imok' && !isRefused) {
      return {
        address,
        answer: 'bad',
        mode: null,
        why: answer === '' ? 'it closed the connection' : answer.slice(0, 100),
      };
    }
    const mode = /^Mode: (\w+)/m.exec(await fourLetterWord(address, 'srvr').catch(() => ''))?.[1];
    const isServing = mode !== undefined || isRefused;
    return {
      address,
      answer: isRefused ? 'refused' : isServing ? 'ok' : 'bad',
      mode: mode ?? null,
      why: isServing ? null : 'it is alive and not serving requests',
    };
  } catch (error) {
    return { address, answer: 'none', mode: null, why: (error as Error).message };
  }
}
