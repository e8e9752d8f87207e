/** The trade daemon as a process of the matrix: the shipped code, bundled once so that a start costs little. Argument: home. */
import { runTradeDaemon } from '../../../src/daemons/trade/daemon.ts';

process.exitCode = await runTradeDaemon({ home: process.argv[2] as string, port: 0 });
