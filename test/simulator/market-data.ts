/** Small invented markets for tests, and a clock that stands where it is put. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parseTimestampNs } from '../../src/lib/market/time.ts';
import type { Clock } from '../../src/lib/service/clock.ts';
import { temporaryFolder } from './simulator-process.ts';

export const at = (text: string): bigint => parseTimestampNs(text) as bigint;

export interface StandingClock extends Clock {
  set(ns: bigint): void;
}

export function standingClock(startNs: bigint): StandingClock {
  let now = startNs;
  return {
    kind: 'virtual',
    nowNs: () => now,
    nowMs: () => Number(now / 1_000_000n),
    sleepUntil: async () => undefined,
    set: (ns) => {
      now = ns;
    },
  };
}

export function writeNdjson(lines: readonly (string | Record<string, unknown>)[], name = 'data.ndjson'): string {
  const path = join(temporaryFolder(), name);
  const text = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(text) : text);
  return path;
}

/** One message of each kind for AAA, spread over two minutes after 14:30:00Z. */
export const everyKind: string[] = [
  '{"T":"q","S":"AAA","bx":"N","bp":10,"bs":300,"ax":"P","ap":10.10,"as":200,"c":["R"],"t":"2026-03-10T14:30:01.25Z","z":"A"}',
  '{"T":"t","S":"AAA","i":52983525034326,"x":"N","p":10,"s":100,"c":[" "],"t":"2026-03-10T14:30:02.000000001Z","z":"A"}',
  '{"T":"t","S":"BBB","i":1,"x":"Q","p":20.50,"s":3,"c":["@","I"],"t":"2026-03-10T14:30:02.5Z","z":"C"}',
  '{"T":"b","S":"AAA","o":10,"h":10.2,"l":9.9,"c":10.1,"v":1200,"n":9,"vw":10.04,"t":"2026-03-10T14:30:00Z"}',
  '{"T":"u","S":"AAA","o":10,"h":10.2,"l":9.9,"c":10.05,"v":1300,"n":10,"vw":10.04,"t":"2026-03-10T14:30:00Z"}',
  '{"T":"s","S":"AAA","sc":"H","sm":"Trading Halt","rc":"T1","rm":"Halt - News Pending","t":"2026-03-10T14:30:20Z","z":"A"}',
  '{"T":"l","S":"AAA","u":10.5,"d":9.5,"i":"B","t":"2026-03-10T14:30:21Z","z":"A"}',
  '{"T":"c","S":"AAA","x":"N","oi":52983525034326,"op":10,"os":100,"oc":[" "],"ci":2,"cp":10.01,"cs":100,"cc":[" "],"t":"2026-03-10T14:30:22Z","z":"A"}',
  '{"T":"x","S":"BBB","i":1,"x":"Q","p":20.50,"s":3,"a":"C","t":"2026-03-10T14:30:23Z","z":"C"}',
  '{"T":"i","S":"AAA","p":10.03,"t":"2026-03-10T14:30:24Z","z":"A"}',
  '{"T":"s","S":"AAA","sc":"T","sm":"Trading Resumption","rc":"R4","rm":"Qualifications Issues Reviewed","t":"2026-03-10T14:30:40Z","z":"A"}',
  '{"T":"t","S":"AAA","i":53,"x":"N","p":10.020,"s":1e2,"c":[" "],"t":"2026-03-10T14:32:00Z","z":"A"}',
];
