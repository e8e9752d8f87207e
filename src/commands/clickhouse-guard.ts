/** `torghut clickhouse guard`: the disks of the store as metrics, and no new exposure while one is in an emergency. */
import type { Command } from 'commander';
import { runGuard } from '../daemons/store/guard.ts';
import { parsePort } from '../embedded/ports.ts';
import { resolveRunHome } from '../lib/service/home.ts';

export function configure(command: Command): void {
  command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option(
      '--port <n>',
      'port of metrics, health and status, 0 for a free one (default: EXPORTER_PORT, 9108)',
      parsePort,
    )
    .addHelpText(
      'after',
      '\nRead-only. Metrics begin with torghut_clickhouse_guardrails_; /status says the level and whether entries are held.\n' +
        '\nExamples:\n  torghut clickhouse guard --port 0\n' +
        '  TA_CLICKHOUSE_URL=http://clickhouse:8123/torghut SCRAPE_INTERVAL_SECONDS=30 torghut clickhouse guard',
    )
    .action(async (options: { home?: string; port?: number }) => {
      process.exitCode = await runGuard({ home: resolveRunHome(options.home), port: options.port });
    });
}
