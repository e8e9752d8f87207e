/** `torghut ta compute`: the bare core over a file, for research and for checks from outside. */
import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { computeFile } from '../daemons/ta/compute.ts';

export function configure(command: Command): void {
  command
    .description('Compute bars and signals from a file of envelopes or provider messages, in the order of its lines')
    .requiredOption('--data <file>', 'NDJSON file, .gz too')
    .addOption(new Option('--profile <name>', 'which formulas').choices(['default', 'compat']).default('default'))
    .addOption(new Option('-o, --output <format>', 'one object per line').choices(['ndjson']).default('ndjson'))
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  torghut ta compute --data smoke.ndjson.gz > bars-and-signals.ndjson\n' +
        '  torghut ta compute --data trades.ndjson --profile compat | grep \'"kind":"bar"\'',
    )
    .action(async (options: { data: string; profile: 'default' | 'compat' }) => {
      let chunk = '';
      const flush = async () => {
        const text = chunk;
        chunk = '';
        if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
      };
      const summary = await computeFile({
        file: options.data,
        profile: options.profile,
        write: (object) => {
          chunk += `${object}\n`;
          return chunk.length > 65_536 ? flush() : undefined;
        },
      });
      await flush();
      process.stderr.write(`${JSON.stringify(summary)}\n`);
    });
}
