/** `torghut ta compute` without its command line. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { computeFile } from '../../src/daemons/ta/compute.ts';
import { settingsOf } from '../../src/lib/ta/index.ts';
import { envelopeOf } from './feed.ts';
import { randomMarket, runAll, shuffled } from './fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'torghut-compute-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function compute(name: string, content: string | Buffer, profile: 'default' | 'compat' = 'default') {
  const file = join(folder, name);
  writeFileSync(file, content);
  const objects: Record<string, unknown>[] = [];
  const write = (object: string) => {
    objects.push(JSON.parse(object) as Record<string, unknown>);
    return undefined;
  };
  return { summary: await computeFile({ file, settings: settingsOf(profile), write }), objects };
}

describe('ta compute', () => {
  const events = shuffled(randomMarket(9, 70, 5), 3, 1);
  const text = events.map((event) => envelopeOf(event).text).join('\n');

  it('gives one object per bar and signal, from envelopes and from provider messages, plain and gzipped', async () => {
    const { summary, objects } = await compute('a.ndjson', `${text}\n`);
    const { outputs, engine } = runAll(events);
    const own = outputs.filter((output) => output.kind !== 'late');
    expect(objects).toHaveLength(own.length);
    expect(summary).toMatchObject({ events: events.length, bars: engine.counters.bars, late: engine.counters.late });
    expect(summary.revisions).toBeGreaterThan(10);
    const bar = objects.find((object) => object.kind === 'bar');
    expect(Object.keys(bar ?? {})).toEqual(
      expect.arrayContaining(['o', 'vwap', 'count', 'unpriced_count', 'revision']),
    );
    expect(new Set(objects.map((object) => object.window_size))).toEqual(new Set(['PT1S', 'PT1M']));

    expect((await compute('b.ndjson.gz', gzipSync(text))).objects).toEqual(objects);
    const messages = events.map((event) =>
      JSON.stringify((JSON.parse(envelopeOf(event).text) as { payload: unknown }).payload),
    );
    const frames = [
      `[${messages.slice(0, 5).join(',')}]`,
      '[]',
      '[{"T":"success","msg":"connected"}]',
      ...messages.slice(5),
    ];
    // A gzipped file may have any name.
    expect((await compute('frames', gzipSync(frames.join('\n')))).objects).toHaveLength(objects.length);
    // seq is the number of the line there: only equal times could tell the difference.
    expect((await compute('c.ndjson', messages.join('\n'))).objects).toHaveLength(objects.length);
    expect((await compute('d.ndjson', text, 'compat')).objects).not.toEqual(objects);
  });

  it('names the line that it cannot use, and a file that is absent or half written', async () => {
    const lines = text.split('\n');
    await expect(compute('e.ndjson', [...lines.slice(0, 3), '{"T":"t"', ...lines].join('\n'))).rejects.toMatchObject({
      code: 'data_line_broken',
      what: expect.stringContaining('line 4 of'),
      exitCode: 2,
    });
    const zero = (lines.find((line) => line.includes('"T":"t"')) ?? '').replace(/"p":[\d.]+/, '"p":0');
    await expect(compute('f.ndjson', zero)).rejects.toMatchObject({ why: expect.stringContaining('a price') });
    const half = gzipSync(text).subarray(0, 2_000);
    await expect(compute('g.ndjson.gz', half)).rejects.toMatchObject({ code: 'data_unreadable', exitCode: 2 });
    const absent = computeFile({
      file: join(folder, 'absent'),
      settings: settingsOf('default'),
      write: () => undefined,
    });
    await expect(absent).rejects.toMatchObject({ code: 'data_unreadable', exitCode: 2 });
  });
});
