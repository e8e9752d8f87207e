/** `torghut ta pause`: stop computing and storing, or one of them; input waits in the log. */
import type { Command } from 'commander';
import { configureControl } from './ta-control.ts';

export function configure(command: Command): void {
  command.description(
    'Pause ta: no bars, signals or rows until ta resume, also after restarts; ws goes on, nothing is lost',
  );
  configureControl(
    command,
    'pause',
    '  torghut ta pause --reason "the disk of ClickHouse is full" --yes --wait\n' +
      '  torghut ta pause --only sink --reason "promoting a replay" --dry-run -o json',
  );
}
