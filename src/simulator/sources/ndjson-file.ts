/**
 * Lines of one NDJSON file, plain or gzipped, as a stream with bounded memory.
 * Guarantees: a missing, unreadable or truncated file is reported with its name and, where a line is at fault, its number;
 * lines come in file order.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { codeOf, exitCode, TorghutError } from '../../lib/service/errors.ts';

export interface FileLine {
  bytes: Buffer;
  /** From 1. */
  number: number;
}

/** An error of the input: exit code 2, because the user named the file. */
export function inputError(path: string, line: number | undefined, why: string, cause?: unknown): TorghutError {
  return new TorghutError({
    code: 'input_broken',
    what: line === undefined ? `cannot use the data file ${path}` : `line ${line} of ${path} cannot be used`,
    why,
    next: 'repair or fetch the file again, or name other files with --data',
    exitCode: exitCode.usage,
    cause,
  });
}

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

function explain(error: unknown): string {
  const code = codeOf(error);
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EACCES') return 'it may not be read';
  if (code === 'Z_BUF_ERROR') return 'the gzip data end too early: the file is truncated';
  if (code === 'Z_DATA_ERROR') return 'the gzip data are damaged';
  return (error as Error).message;
}

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/**
 * The lines in batches, one per piece of the stream. The bytes stay valid.
 * Empty lines are left out. A last line without a line break is given too.
 */
export async function* readLines(path: string): AsyncGenerator<FileLine[], void, undefined> {
  let file: Readable | undefined;
  let stream: Readable | undefined;
  let number = 0;
  try {
    const isZipped = await isGzip(path);
    const raw = createReadStream(path, { highWaterMark: 1 << 16 });
    file = raw;
    stream = raw;
    if (isZipped) {
      const gunzip = createGunzip({ chunkSize: 1 << 18 });
      raw.on('error', (error) => gunzip.destroy(error));
      stream = raw.pipe(gunzip);
    }
    let rest: Buffer = Buffer.alloc(0);
    for await (const piece of stream as AsyncIterable<Buffer>) {
      const bytes = rest.length > 0 ? Buffer.concat([rest, piece]) : piece;
      const lines: FileLine[] = [];
      let start = 0;
      for (;;) {
        const end = bytes.indexOf(LINE_FEED, start);
        if (end < 0) break;
        number += 1;
        const last = bytes[end - 1] === CARRIAGE_RETURN && end > start ? end - 1 : end;
        if (last > start) lines.push({ bytes: bytes.subarray(start, last), number });
        start = end + 1;
      }
      rest = bytes.subarray(start);
      if (lines.length > 0) yield lines;
    }
    if (rest.length > 0) yield [{ bytes: rest, number: number + 1 }];
  } catch (error) {
    if (error instanceof TorghutError) throw error;
    throw inputError(path, number > 0 ? number + 1 : undefined, explain(error), error);
  } finally {
    stream?.destroy();
    file?.destroy();
  }
}
