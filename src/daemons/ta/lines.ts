/** The lines of a text file, gzipped or not, one at a time. */
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** First bytes of a gzip stream (RFC 1952); a file may be named as it likes. */
const gzipMagic = 0x1f8b;

async function isGzip(file: string): Promise<boolean> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer.readUInt16BE(0) === gzipMagic;
  } finally {
    await handle.close();
  }
}

/** Iterating throws what the file or the gzip stream reports. */
export async function* linesOf(file: string): AsyncGenerator<string, void, undefined> {
  // A pipe can be read once only, and from its beginning: it goes by its name.
  const isPacked = (await stat(file)).isFile() ? await isGzip(file) : file.endsWith('.gz');
  const raw = createReadStream(file);
  const input: Readable = isPacked ? raw.pipe(createGunzip()) : raw;
  if (input !== raw) raw.on('error', (error) => input.destroy(error));
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    yield* lines;
  } finally {
    lines.close();
    raw.destroy();
  }
}
