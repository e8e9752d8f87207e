/** torghut config: the effective settings, where each came from, secrets masked. */
import type { Command } from 'commander';
import { taVariables } from '../daemons/ta/variables.ts';
import { tradeVariables } from '../daemons/trade/variables.ts';
import { wsVariables } from '../daemons/ws/variables.ts';
import { logVariables } from '../lib/log/variables.ts';
import { type ConfigSource, loadConfig } from '../lib/service/config.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';

export function configure(command: Command): void {
  command
    .option('--sources', 'also say which variable each value came from', false)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText('after', '\nExamples:\n  torghut config\n  torghut config --sources -o json')
    .action((options: { sources: boolean; output: string }) => {
      const format = parseOutputFormat(options.output);
      const tables = { ws: wsVariables, ta: taVariables, trade: tradeVariables, log: logVariables };
      const names = Object.values(tables).flatMap((table) => Object.keys(table));
      const warnings = new Set<string>();
      const rows: Record<string, unknown>[] = [];
      for (const [part, table] of Object.entries(tables)) {
        const loaded = loadConfig(table, process.env, names);
        for (const warning of loaded.warnings) warnings.add(warning);
        rows.push(...loaded.sources.map((source) => row(part, source, options.sources)));
      }
      print(renderRows(rows, format));
      for (const warning of warnings) process.stderr.write(`torghut: ${warning}\n`);
    });
}

function row(part: string, source: ConfigSource, hasSources: boolean): Record<string, unknown> {
  return {
    part,
    name: source.name,
    value: source.value ?? null,
    ...(hasSources && { source: source.source, from: source.from }),
    time: source.time === 'none' ? null : source.time,
    meaning: source.describe,
  };
}
