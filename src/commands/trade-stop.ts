/** `torghut trade stop`: the kill switch, and on demand the cancel of every open order and the close of every position. */
import type { Command } from 'commander';
import { type ChangeCommandOptions, changeOptions, runControl } from './trade-control.ts';

type Options = ChangeCommandOptions & { wait: boolean; cancelOpen: boolean; flatten: boolean };

export function configure(command: Command): void {
  changeOptions(command)
    .description('Emergency stop: refuse every submit; a running loop cancels its open orders in each cycle')
    .option('--cancel-open', 'also see every open order cancelled, with or without a running loop', false)
    .option('--flatten', 'also close every position at market by orders that can only reduce (session open)', false)
    .option(
      '--yes',
      'do not ask for the kill switch; --cancel-open and --flatten need --confirm with their own ids',
      false,
    )
    .option('--wait', 'return when the loop shows no submit over two cycles and no open order', false)
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade stop --reason "unexpected orders" --yes --wait\n  torghut trade stop --reason "unexpected orders" --cancel-open --flatten --dry-run',
    )
    .action((options: Options) => runControl('stop', options));
}
