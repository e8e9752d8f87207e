import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { type CommandEntry, findCommand, nouns } from '../../src/commands/table.ts';

const entries = Object.entries(nouns).flatMap(([noun, { command, verbs, isHidden }]) => {
  const list: [string, CommandEntry][] = command ? [[noun, command]] : [];
  for (const [verb, entry] of Object.entries(verbs ?? {})) list.push([`${noun} ${verb}`, entry]);
  return list.map(([words, entry]) => ({ words, entry, isHidden: isHidden === true || entry.isHidden === true }));
});

async function configured(words: string, entry: CommandEntry): Promise<{ command: Command; help: string }> {
  const help: string[] = [];
  const command = new Command(words).configureOutput({ writeOut: (text) => help.push(text) });
  (await entry.load()).configure(command.description(entry.summary));
  command.outputHelp();
  return { command, help: help.join('') };
}

describe('every command keeps the conventions', () => {
  it.each(entries.filter(({ isHidden }) => !isHidden))('$words: help with two worked examples', async (row) => {
    const { help } = await configured(row.words, row.entry);
    // Some begin with the variables that they set.
    const examples = (help.split('Examples:')[1] ?? '').split(`torghut ${row.words}`).length - 1;
    expect(examples).toBeGreaterThanOrEqual(2);
  });

  it.each(entries)('$words: every option says what it does, in one line of the summary', async (row) => {
    const { command } = await configured(row.words, row.entry);
    expect(row.entry.summary).toMatch(/^[A-Z].*[^.]$/);
    for (const option of command.options) expect(option.description, option.flags).not.toBe('');
  });

  it('results can be had as a table, as JSON and as YAML', async () => {
    const others = new Set([
      'up',
      'simulator',
      'ws',
      'ta',
      'trade',
      'ta compute',
      'completion',
      'clickhouse guard',
      'history',
    ]);
    for (const { words, entry, isHidden } of entries) {
      if (isHidden || others.has(words)) continue;
      const { command } = await configured(words, entry);
      const output = command.options.find(({ long }) => long === '--output');
      expect(output?.defaultValue, words).toBe('table');
    }
  });
});

it.each(['ws', 'ta', 'trade', 'clickhouse'])(
  'a wrong verb of %s is named, also where the noun alone starts a daemon',
  (noun) => {
    expect(findCommand([noun, 'satus'])).toMatchObject({ kind: 'unknown', word: 'satus', what: `verb of ${noun}` });
  },
);
