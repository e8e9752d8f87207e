/** The simulator command as a process of its own, for tests: the same configure() that the CLI loads. */
import { Command } from 'commander';
import { configure } from '../../src/commands/simulator.ts';
import { TorghutError } from '../../src/lib/service/errors.ts';

const command = new Command('simulator');
configure(command);
try {
  await command.parseAsync(process.argv.slice(2), { from: 'user' });
  process.exit();
} catch (error) {
  if (!(error instanceof TorghutError)) throw error;
  process.stderr.write(`torghut: ${error.what}\nwhy:  ${error.why}\nnext: ${error.next}\ncode: ${error.code}\n`);
  process.exit(error.exitCode);
}
