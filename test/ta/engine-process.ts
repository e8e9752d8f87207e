/** Runs the ta engine alone in a process of its own, for tests that kill it. Argument: the run home. */
import { runEngineDaemon } from '../../src/daemons/ta/engine.ts';

process.exitCode = await runEngineDaemon({ home: process.argv[2] as string, port: 0 });
