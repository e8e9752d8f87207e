/** Runs one command file as the CLI does, without the command tree: `node entry.ts trade --home …`. */
import { Command } from 'commander';
import { TorghutError } from '../../src/lib/service/errors.ts';

const [name = '', ...rest] = process.argv.slice(2);
const { configure } = (await import(`../../src/commands/${name}.ts`)) as { configure(command: Command): void };
const command = new Command(name);
configure(command);
try {
  await command.parseAsync(rest, { from: 'user' });
} catch (error) {
  if (!(error instanceof TorghutError)) throw error;
  process.stderr.write(`${error.code}: ${error.what} ${error.why ?? ''}\n`);
  process.exitCode = error.exitCode;
}
