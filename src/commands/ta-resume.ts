/** `torghut ta resume`: go on from the last commit. */
import type { Command } from 'commander';
import { configureControl } from './ta-control.ts';

export function configure(command: Command): void {
  command.description('End a pause of ta: it goes on from its last commit, in order, with nothing left out');
  configureControl(
    command,
    'resume',
    '  torghut ta resume --reason "there is space again" --yes --wait\n' +
      '  torghut ta resume --only sink --reason "the replay is promoted" --yes',
  );
}
