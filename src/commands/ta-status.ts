/** `torghut ta status`: what the running ta of a home says about itself, and what is wrong with it. */
import type { Command } from 'commander';
import { readTaStatus, waitForTa } from '../daemons/ta/status.ts';
import { exitCode, usageError } from '../lib/service/errors.ts';
import { resolveRunHome } from '../lib/service/home.ts';
import { parseOutputFormat, print, renderObject, renderRows } from '../lib/ui/output.ts';

interface Options {
  home?: string;
  url?: string;
  wait: boolean;
  timeout: string;
  output: string;
}

/** @throws `timeout_invalid` (exit 2) */
function timeoutMs(text: string): number {
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0 && seconds <= 86_400) return seconds * 1_000;
  throw usageError({ code: 'timeout_invalid', what: `--timeout ${text} is no time`, next: 'give seconds, 1 to 86400' });
}

export function configure(command: Command): void {
  command
    .description('Show tasks, lag, watermarks, late and unusable events and the sink of the running ta')
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--url <url>', 'address of an engine that is not of this home; its sink is not asked then')
    .option('--wait', 'return when nothing is wrong, or after --timeout', false)
    .option('--timeout <seconds>', 'longest wait', '60')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText(
      'after',
      '\nExit codes: 0 nothing is wrong, 10 a problem was found, 11 cannot tell (ta does not answer).\n' +
        '\nExamples:\n  torghut ta status\n  torghut ta status --wait --timeout 30 -o json',
    )
    .action(async (options: Options) => {
      const format = parseOutputFormat(options.output);
      const target = { home: resolveRunHome(options.home), url: options.url };
      const limit = timeoutMs(options.timeout);
      const status = options.wait ? await waitForTa({ ...target, timeoutMs: limit }) : await readTaStatus(target);
      if (format === 'table') {
        const { findings, tasks, ...head } = status;
        print(renderObject(head, format));
        print(
          `\n${renderRows(
            tasks.map(({ positions: _positions, ...task }) => task),
            format,
          )}`,
        );
        if (findings.length > 0)
          print(
            `\n${renderRows(
              findings.map((finding) => ({ ...finding })),
              format,
            )}`,
          );
      } else print(renderObject(status, format));
      if (status.state !== 'ok') process.exitCode = exitCode.problemFound;
    });
}
