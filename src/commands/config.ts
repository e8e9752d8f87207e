/** torghut config: the effective settings, where each came from, secrets masked. */
import type { Command } from 'commander';
import { historyVariables } from '../daemons/history/variables.ts';
import { sinkVariables } from '../daemons/sink/variables.ts';
import { guardVariables } from '../daemons/store/guard-variables.ts';
import { taVariables } from '../daemons/ta/variables.ts';
import { tradeVariables } from '../daemons/trade/variables.ts';
import { wsVariables } from '../daemons/ws/variables.ts';
import { storeVariables } from '../embedded/variables.ts';
import { logVariables } from '../lib/log/variables.ts';
import { type ConfigSource, loadConfig, type VariableTable } from '../lib/service/config.ts';
import { exitCode, TorghutError } from '../lib/service/errors.ts';
import { parseOutputFormat, print, renderRows } from '../lib/ui/output.ts';
import { tradingSideVariables } from '../simulator/trading/variables.ts';

const tables: Record<string, VariableTable> = {
  ws: wsVariables,
  ta: taVariables,
  sink: sinkVariables,
  trade: tradeVariables,
  log: logVariables,
  stores: storeVariables,
  guard: guardVariables,
  history: historyVariables,
  simulator: tradingSideVariables,
};

export function configure(command: Command): void {
  command
    .option('--sources', 'also say which variable each value came from', false)
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .addHelpText('after', '\nExamples:\n  torghut config\n  torghut config --sources -o json')
    .action((options: { sources: boolean; output: string }) => {
      const format = parseOutputFormat(options.output);
      const names = Object.values(tables).flatMap((table) =>
        Object.entries(table).flatMap(([name, variable]) => [name, ...(variable.aliases ?? [])]),
      );
      const warnings = new Set<string>();
      const mistakes = new Set<string>();
      const rows: Record<string, unknown>[] = [];
      for (const [part, table] of Object.entries(tables)) {
        try {
          const loaded = loadConfig(table, process.env, names);
          for (const warning of loaded.warnings) warnings.add(warning);
          rows.push(...loaded.sources.map((source) => row(part, source, options.sources)));
        } catch (error) {
          if (!(error instanceof TorghutError) || error.code !== 'config_invalid') throw error;
          for (const mistake of (error.why ?? '').split('; ')) mistakes.add(mistake);
        }
      }
      print(renderRows(rows, format));
      for (const warning of warnings) process.stderr.write(`torghut: ${warning}\n`);
      for (const mistake of mistakes) process.stderr.write(`torghut: ${mistake}\n`);
      if (mistakes.size > 0) process.exitCode = exitCode.usage;
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
