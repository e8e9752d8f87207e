/**
 * A trading side in a process of its own, to be killed: the tape walks by itself, the journal is in the folder given.
 * Usage: node exchange-process.ts FOLDER; prints the port.
 */
import { FakeTape } from './fake-tape.ts';
import { startExchange } from './test-exchange.ts';

const directory = process.argv[2] as string;
const tape = new FakeTape(['AIG', 'IBM']);
// Market time goes on over the kills, as it does for a real simulator.
tape.now += process.hrtime.bigint() % 3_600_000_000_000n;
tape.quote('IBM', [184.2, 10], [184.25, 10]);
const exchange = await startExchange({ tape, directory });
let step = 0;
setInterval(() => {
  step += 1;
  tape.pass(2);
  tape.quote('IBM', [184.2 - (step % 7) / 100, 1 + (step % 11)], [184.25 + (step % 5) / 100, 1 + (step % 13)]);
  tape.trade('IBM', 184.2 + (step % 9) / 100);
}, 2);
process.stdout.write(`${exchange.port}\n`);
