/** `torghut trade pause`: decide nothing, send nothing; reconcile goes on. */
import type { Command } from 'commander';
import { type ChangeCommandOptions, changeOptions, runControl } from './trade-control.ts';

export function configure(command: Command): void {
  changeOptions(command)
    .description('Pause the trading loop of an account: no decisions, no orders; reconcile and cancels go on')
    .option('--yes', 'do not ask: a pause destroys nothing', false)
    .option('--wait', 'return when the loop has shown the pause over two cycles', false)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade pause --reason "replaying ta" --yes --wait\n  torghut trade pause --reason "look at the broker" --dry-run -o json',
    )
    .action((options: ChangeCommandOptions & { wait: boolean }) => runControl('pause', options));
}
