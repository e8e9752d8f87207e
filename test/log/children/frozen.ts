/** A writer of the embedded log that stops itself (SIGSTOP) inside its transaction: argv is the folder of the environment. */
import { environmentAt } from '../../../src/lib/log/embedded/environment.ts';

const environment = environmentAt(process.argv[2] as string, true);
// The first write creates the file; the second one stands still with LMDB's own lock held.
await environment.write(() => undefined);
await environment.write(() => {
  process.stdout.write('inside\n');
  process.kill(process.pid, 'SIGSTOP');
});
process.stdout.write('went on\n');
