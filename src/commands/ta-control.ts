/** What `ta pause` and `ta resume` have in common as commands: options, the change, showing the report. */
import { type Command, Option } from 'commander';
import { changePause, type PauseAction } from '../daemons/ta/pause.ts';
import { actorName } from '../daemons/trade/operator.ts';
import { renderReport } from '../lib/runbook/report.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print } from '../lib/ui/output.ts';
import { parseSeconds } from './seconds.ts';

interface Options {
  only?: 'engine' | 'sink';
  reason: string;
  actor?: string;
  confirm?: string;
  yes: boolean;
  dryRun: boolean;
  wait: boolean;
  timeout: number;
  home?: string;
  output: string;
}

export function configureControl(command: Command, action: PauseAction, examples: string): void {
  command
    .addOption(new Option('--only <part>', 'one part alone: computing, or storing').choices(['engine', 'sink']))
    .requiredOption('--reason <text>', 'why; kept with the pause and shown by ta status')
    .option('--actor <name>', 'who acts (default: the user of this machine)')
    .option('--yes', 'do not ask: nothing is lost by it', false)
    .option('--confirm <plan-id>', 'do it only if the plan still has this id')
    .option('--dry-run', 'print the plan only', false)
    .option('--wait', 'return when the processes of this home have obeyed', false)
    .option('--timeout <seconds>', 'how long --wait waits', parseSeconds, 60)
    .option('--home <dir>', 'home of the run (default: the newest); KAFKA_BOOTSTRAP means a cluster instead')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 10 a process did not obey in time, 11 no process to ask (only with --wait).\n' +
        `\nExamples:\n${examples}`,
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const outcome = await changePause(action, {
        ...options,
        home: resolveRunHome(options.home),
        actor: actorName(options.actor),
        timeoutMs: options.timeout * 1_000,
        tell: (line) => void process.stderr.write(`${line}\n`),
      });
      print(renderReport(outcome.report, format));
      process.exitCode = outcome.exitCode;
    });
}
