/**
 * The data of an INSERT as they arrive: collected and handed to the engine in pieces.
 * A piece is one block of rows for the engine, so a body below the limit is inserted as a whole or not at all; a larger one in
 * a line format is cut between rows (as the server cuts blocks), any other is refused.
 */
import type { Readable } from 'node:stream';
import { frontError } from './errors.ts';

const pieceBytes = 64 * 1024 * 1024;
const maxBytes = 1024 * 1024 * 1024;

/** Bytes around a line end between two rows, per line format: what stands before and behind it. */
const rowBoundaries: Record<string, [string, string] | undefined> = {
  jsoneachrow: ['}', '{'],
  ndjson: ['}', '{'],
  jsonlines: ['}', '{'],
  jsoncompacteachrow: [']', '['],
  tabseparated: ['', ''],
  tsv: ['', ''],
};

/** Offset behind the last row end; 0 when there is none. */
function lastRowEnd(data: Buffer, boundary: [string, string]): number {
  const [before, after] = boundary;
  if (before === '') return data.lastIndexOf(0x0a) + 1;
  const at = data.lastIndexOf(`${before}\n${after}`);
  return at < 0 ? 0 : at + 2;
}

/** Yields the pieces of a body in order. @throws EngineError 223 when it is too large to be taken at once */
export async function* insertPieces(first: Buffer, body: Readable, format: string): AsyncGenerator<Buffer> {
  const boundary = rowBoundaries[format.toLowerCase()];
  let parts: Buffer[] = first.length > 0 ? [first] : [];
  let size = first.length;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    parts.push(chunk);
    size += chunk.length;
    if (size > maxBytes) throw frontError(223, 'QUERY_IS_TOO_LARGE', 'The data of one INSERT are larger than 1 GiB');
    if (!boundary || size < pieceBytes) continue;
    const data = Buffer.concat(parts);
    const end = lastRowEnd(data, boundary);
    if (end > 0) yield data.subarray(0, end);
    parts = [data.subarray(end)];
    size = data.length - end;
  }
  if (size > 0) yield parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

/** A whole body. @throws EngineError 223 above the limit of a statement's text */
export async function wholeBody(body: Readable, limit = maxBytes): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    parts.push(chunk);
    size += chunk.length;
    if (size > limit) throw frontError(223, 'QUERY_IS_TOO_LARGE', `The request is larger than ${limit} bytes`);
  }
  return Buffer.concat(parts);
}
