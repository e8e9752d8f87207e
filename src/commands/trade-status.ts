/** `torghut trade status`: what the running trade daemon of a home says about itself. */
import type { Command } from 'commander';
import { readTradeStatus } from '../daemons/trade/client.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .description('Show switches, cursor, decisions, orders and positions of the running trade daemon')
    .option('--home <dir>', 'home of the run')
    .option('--url <url>', 'address of the daemon, when it is not one of this home')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExamples:\n  torghut trade status\n  torghut trade status --url http://127.0.0.1:8181 -o json',
    )
    .action(async (options: { home?: string; url?: string; output: string }) => {
      const format = parseOutputFormat(options.output);
      const status = await readTradeStatus({ home: resolveRunHome(options.home), url: options.url });
      print(renderObject(status, format));
    });
}
