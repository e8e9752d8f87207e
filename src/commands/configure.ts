/** What every command gets beside what its own file says. */
import { type Command, Option } from 'commander';
import type { CommandEntry } from './table.ts';

/** Loads the command's file; results that can be had as JSON can also be asked for by --json. */
export async function configureEntry(entry: CommandEntry, command: Command): Promise<Command> {
  (await entry.load()).configure(command.description(entry.summary));
  if (command.options.some(({ long, defaultValue }) => long === '--output' && defaultValue === 'table')) {
    command.addOption(new Option('--json', 'the same as -o json').implies({ output: 'json' }));
  }
  return command;
}
