/**
 * The command tree, nothing else. Each command's file is loaded only when it is called.
 */
import { Command, CommanderError } from 'commander';
import { configureEntry } from './commands/configure.ts';
import { type CommandEntry, findCommand, nouns } from './commands/table.ts';
import { exitCode, TorghutError } from './lib/service/errors.ts';
import { nearestName } from './lib/service/nearest.ts';
import { VERSION } from './lib/service/version.ts';

function program(): Command {
  return new Command('torghut')
    .description('Market data to micro-bars, signals, decisions and paper orders, and the runbooks of its operators.')
    .version(VERSION)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text) })
    .addHelpText('after', '\nExamples:\n  torghut up --synthetic 7 --speed 30\n  torghut log topics -o json');
}

/** Root with the names only: quick help, and the place of unknown words. */
function rootWithNames(): Command {
  const root = program();
  for (const [name, noun] of Object.entries(nouns)) {
    if (!noun.isHidden) root.command(name).description(noun.summary);
  }
  return root;
}

async function build(entry: CommandEntry, words: readonly string[]): Promise<Command> {
  const root = program();
  let parent = root;
  for (const word of words.slice(0, -1)) {
    parent = parent.command(word).exitOverride();
  }
  const command = await configureEntry(entry, parent.command(words.at(-1) as string).exitOverride());
  const verbs = words.length === 1 ? Object.entries(nouns[words[0] as string]?.verbs ?? {}) : [];
  if (verbs.length > 0) {
    const lines = verbs.map(([verb, { summary }]) => `  ${words[0]} ${verb.padEnd(12)} ${summary}`);
    command.addHelpText('after', `\nFurther commands:\n${lines.join('\n')}`);
  }
  return root;
}

function nounHelp(name: string): Command {
  const root = program();
  const noun = nouns[name];
  const command = root
    .command(name)
    .description(noun?.summary ?? '')
    .exitOverride();
  for (const [verb, entry] of Object.entries(noun?.verbs ?? {})) {
    if (!entry.isHidden) command.command(verb).description(entry.summary);
  }
  return root;
}

function unknownWord(kind: string, word: string, names: readonly string[]): number {
  const near = nearestName(word, names);
  process.stderr.write(`torghut: unknown ${kind} '${word}'${near ? `; did you mean '${near}'?` : ''}\n`);
  process.stderr.write('next: torghut --help lists what there is\n');
  return exitCode.usage;
}

function printError(error: TorghutError): void {
  process.stderr.write(`torghut: ${error.what}\n`);
  if (error.why) process.stderr.write(`why:  ${error.why}\n`);
  if (error.next) process.stderr.write(`next: ${error.next}\n`);
  process.stderr.write(`code: ${error.code}\n`);
}

async function main(argv: readonly string[]): Promise<number> {
  const found = findCommand(argv);
  if (found.kind === 'unknown') return unknownWord(found.what, found.word, found.names);
  const root =
    found.kind === 'command'
      ? await build(found.entry, found.words)
      : found.kind === 'noun'
        ? nounHelp(found.name)
        : rootWithNames();
  const rest = found.kind === 'noun' && argv.length === 1 ? [...argv, '--help'] : argv;
  await root.parseAsync(rest.length === 0 ? ['--help'] : [...rest], { from: 'user' });
  return typeof process.exitCode === 'number' ? process.exitCode : exitCode.ok;
}

// `torghut … | head` is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCode.ok);
  throw error;
});

try {
  process.exitCode = await main(process.argv.slice(2));
  // All work that counts was waited for: a handle that a library left open must not keep a stopped daemon alive (two sockets of
  // one Kafka connection once did).
  setTimeout(() => process.exit(), 1_000).unref();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version end with 0; everything else is a mistake in the arguments.
    process.exitCode = error.exitCode === 0 ? exitCode.ok : exitCode.usage;
  } else if (error instanceof TorghutError) {
    printError(error);
    process.exitCode = error.exitCode;
  } else {
    process.stderr.write(`torghut: unexpected error\n${(error as Error)?.stack ?? String(error)}\n`);
    process.stderr.write('next: this is a fault of torghut itself; keep these lines for the report\n');
    process.exitCode = exitCode.unexpected;
  }
}
