/** The sink as a process of its own: `node child.ts HOME`. */
import { runSinkDaemon } from '../../src/daemons/sink/daemon.ts';

process.exitCode = await runSinkDaemon({ home: process.argv[2] as string, port: 0 });
