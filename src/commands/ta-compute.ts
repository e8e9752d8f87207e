/** `torghut ta compute`: the bare core over a file, for research and for checks from outside. */
import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { sinkVariables } from '../daemons/sink/variables.ts';
import { computeFile } from '../daemons/ta/compute.ts';
import { coreSettings, type TaConfig } from '../daemons/ta/settings.ts';
import { taVariables } from '../daemons/ta/variables.ts';
import { loadConfig } from '../lib/service/config.ts';

export function configure(command: Command): void {
  command
    .description('Compute bars and signals from a file of envelopes or provider messages, in the order of its lines')
    .requiredOption('--data <file>', 'lines of envelopes, provider messages or frames of messages; gzipped or not')
    .addOption(
      new Option('--profile <name>', 'which formulas (default: TA_PROFILE, "default")').choices(['default', 'compat']),
    )
    .addOption(new Option('-o, --output <format>', 'one object per line').choices(['ndjson']).default('ndjson'))
    .addHelpText(
      'after',
      '\nTA_MAX_OUT_OF_ORDER_MS, TA_QUOTE_STALE_AFTER_MS, TA_VWAP_WINDOW_SECONDS and TA_REALIZED_VOL_WINDOW mean what they mean\n' +
        'to the daemon. Objects go to stdout, one line of counts to stderr. A line that cannot be used ends it with exit 2, after\n' +
        'the objects that were final before it.\n' +
        '\nExamples:\n' +
        '  torghut ta compute --data smoke.ndjson.gz > bars-and-signals.ndjson\n' +
        '  torghut ta compute --data trades.ndjson --profile compat | grep \'"kind":"bar"\'',
    )
    .action(async (options: { data: string; profile?: TaConfig['TA_PROFILE'] }) => {
      const config = loadConfig(taVariables, process.env, Object.keys(sinkVariables)).values;
      let chunk = '';
      const flush = async () => {
        const text = chunk;
        chunk = '';
        if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
      };
      const write = (object: string) => {
        chunk += `${object}\n`;
        return chunk.length > 65_536 ? flush() : undefined;
      };
      const settings = coreSettings({ ...config, TA_PROFILE: options.profile ?? config.TA_PROFILE });
      try {
        const summary = await computeFile({ file: options.data, settings, write });
        await flush();
        process.stderr.write(`${JSON.stringify(summary)}\n`);
      } finally {
        await flush();
      }
    });
}
