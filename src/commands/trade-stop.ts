/** `torghut trade stop`: the kill switch, and on demand the cancel of every open order. */
import type { Command } from 'commander';
import { type ChangeCommandOptions, changeOptions, runControl } from './trade-control.ts';

export function configure(command: Command): void {
  changeOptions(command)
    .description('Emergency stop: refuse every submit; a running loop cancels its open orders in each cycle')
    .option('--cancel-open', 'also see every open order cancelled, with or without a running loop', false)
    .option('--yes', 'do not ask for the kill switch; --cancel-open needs --confirm with its own plan id', false)
    .option('--wait', 'return when the loop shows no submit over two cycles and no open order', false)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade stop --reason "unexpected orders" --yes --wait\n  torghut trade stop --reason "unexpected orders" --cancel-open --dry-run',
    )
    .action((options: ChangeCommandOptions & { wait: boolean; cancelOpen: boolean }) => runControl('stop', options));
}
