/**
 * `torghut completion SHELL` prints the script that a shell sources; the script then asks the hidden `torghut complete` for
 * each Tab. Both go over the whole command tree, so a new command completes without a word here.
 */
import tab from '@bomb.sh/tab/commander';
import { Argument, Command } from 'commander';
import { configureEntry } from './configure.ts';

const shells = ['bash', 'zsh', 'fish'] as const;

async function wholeTree(): Promise<Command> {
  // The table names this file, so it is read late.
  const { nouns } = await import('./table.ts');
  const root = new Command('torghut').helpCommand(false);
  for (const [name, noun] of Object.entries(nouns)) {
    if (noun.isHidden || name === 'completion') continue;
    const parent = root.command(name).description(noun.summary).helpCommand(false);
    if (noun.command) await configureEntry(noun.command, parent);
    for (const [verb, entry] of Object.entries(noun.verbs ?? {})) {
      if (!entry.isHidden) await configureEntry(entry, parent.command(verb));
    }
  }
  tab(root, { completionCommandName: 'completion' });
  return root;
}

export function configure(command: Command): void {
  const isRequest = command.name() === 'complete';
  if (isRequest) command.argument('[words...]', 'what is typed so far').allowUnknownOption();
  else command.addArgument(new Argument('<shell>', 'which shell the script is for').choices(shells));
  command
    .addHelpText(
      'after',
      '\nThe script for bash needs the package bash-completion.\n\nExamples:\n  source <(torghut completion bash)\n' +
        '  torghut completion fish > ~/.config/fish/completions/torghut.fish',
    )
    .action(async (words: string | string[]) => {
      const root = await wholeTree();
      await root.parseAsync(isRequest ? ['complete', '--', ...words] : ['completion', String(words)], { from: 'user' });
    });
}
