/** Every command line of a runbook page is one that this program has, with options that it takes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { findCommand } from '../../src/commands/table.ts';

const pages = readdirSync('runbooks').filter((name) => name.endsWith('.md'));

/** The words of a shell line up to a pipe or a redirection; single and double quotes, no expansion. */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  for (const [, single, double, plain] of line.matchAll(/'([^']*)'|"([^"]*)"|([^\s'"]+)/g)) {
    if (plain === '|' || plain === '>' || plain === '&&') break;
    words.push(single ?? double ?? plain ?? '');
  }
  return words;
}

/** Command lines of the page's shell blocks. */
function commandLines(page: string): string[] {
  const text = readFileSync(join('runbooks', page), 'utf8');
  const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, body]) => body ?? '');
  return blocks.flatMap((body) => body.split('\n')).filter((line) => line.trim() !== '' && !line.startsWith('#'));
}

/** Parses a line as the CLI would, without running it. @throws CommanderError for an unknown option, Error for an unknown command */
async function parse(line: string): Promise<void> {
  const words = wordsOf(line);
  while (/^[A-Z_]+=/.test(words[0] ?? '')) words.shift();
  if (words.shift() !== 'torghut') throw new Error(`${line} is no command of torghut`);
  const found = findCommand(words);
  if (found.kind !== 'command') throw new Error(`there is no command torghut ${words.join(' ')}`);
  const { configure } = await found.entry.load();
  const command = new Command('torghut').exitOverride().configureOutput({ writeErr: () => undefined });
  configure(command);
  command.action(() => undefined);
  await command.parseAsync(words.slice(found.words.length), { from: 'user' });
}

describe.each(pages)('runbooks/%s', (page) => {
  const lines = commandLines(page);

  it('has command lines', () => {
    expect(lines.length).toBeGreaterThan(0);
  });

  it.each(lines)('%s', async (line) => {
    await expect(parse(line)).resolves.toBeUndefined();
  });
});

describe('the reading of runbook pages', () => {
  it('refuses a command that is none, an option that is none, and a word too many', async () => {
    await expect(parse('torghut ta vanish')).rejects.toBeInstanceOf(CommanderError);
    await expect(parse('torghut log vanish')).rejects.toThrow('there is no command');
    await expect(parse('torghut nothing at-all')).rejects.toThrow('there is no command');
    await expect(parse('torghut ta verify --form 2013-10-08T13:30:00Z')).rejects.toBeInstanceOf(CommanderError);
    await expect(parse('torghut ta diff --left clickhouse')).rejects.toBeInstanceOf(CommanderError);
    await expect(parse('torghut ta status extra')).rejects.toBeInstanceOf(CommanderError);
    await expect(parse('rm -r /')).rejects.toThrow('no command of torghut');
    expect(wordsOf('torghut a \'b c\' "d" | less')).toEqual(['torghut', 'a', 'b c', 'd']);
  });
});
