/** Stretches of the recorded day as files of their own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Trades and quotes of the recorded day from one time to another, in order of time. */
export function stretchOfDay(from: string, to: string): string[] {
  const day = join(process.env.TORGHUT_DATA ?? '', 'us-equities-2013-10-08');
  const [low, high] = [Date.parse(from), Date.parse(to)];
  const lines: { at: number; line: string }[] = [];
  for (const name of ['trades.ndjson.gz', 'quotes.ndjson.gz']) {
    for (const line of gunzipSync(readFileSync(join(day, name)))
      .toString('utf8')
      .split('\n')) {
      const at = Date.parse(/"t":"([^"]+)"/.exec(line)?.[1] ?? '');
      if (at >= low && at < high) lines.push({ at, line });
    }
  }
  return lines.sort((a, b) => a.at - b.at).map(({ line }) => line);
}
