/** `torghut trade resume`: ends pause, stop and emergency stop, when every condition holds. */
import type { Command } from 'commander';
import { type ChangeCommandOptions, changeOptions, runControl } from './trade-control.ts';

export function configure(command: Command): void {
  changeOptions(command)
    .description('Let the loop decide and send again; refused with every condition that does not hold')
    .option('--yes', 'do not ask for the end of a pause; the release of a stop needs --confirm', false)
    .option('--wait', 'return when the loop has run two cycles without a hold', false)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade resume --reason "ta is current again" --yes --wait\n  torghut trade resume --reason "released after review" --actor second.person --dry-run',
    )
    .action((options: ChangeCommandOptions & { wait: boolean }) => runControl('resume', options));
}
