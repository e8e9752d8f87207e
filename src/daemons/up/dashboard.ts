/**
 * The live terminal dashboard of `up` (Ink). Drawn five times a second from the same data as the plain lines.
 */
import { Box, render, Text } from 'ink';
import { createElement as h, type ReactElement } from 'react';
import { childNames, grouped, lowestWatermark, marketText, sparkline, type ViewInput } from './view.ts';

function row(label: string, ...cells: (string | ReactElement)[]): ReactElement {
  return h(
    Box,
    { key: label },
    h(Box, { width: 12 }, h(Text, { dimColor: true }, label)),
    ...cells.map((cell, i) => (typeof cell === 'string' ? h(Text, { key: `${label}${i}` }, cell) : cell)),
  );
}

function health(input: ViewInput): ReactElement[] {
  return childNames.map((name) =>
    h(Text, { key: name, color: input.isUp(name) ? 'green' : 'red' }, `${input.isUp(name) ? '●' : '○'} ${name}  `),
  );
}

function barLines(input: ViewInput): ReactElement[] {
  const latest = [...(input.snapshot.ta?.latest ?? [])].sort((a, b) => (a.symbol < b.symbol ? -1 : 1)).slice(0, 12);
  return latest.map((bar) => {
    const closes = input.closes.get(bar.symbol) ?? [];
    const first = closes[0] ?? bar.c;
    const change = first === 0 ? 0 : ((bar.c - first) / first) * 10_000;
    return h(
      Box,
      { key: bar.symbol },
      h(Box, { width: 12 }, h(Text, { bold: true }, bar.symbol)),
      h(Box, { width: 12, justifyContent: 'flex-end' }, h(Text, null, bar.c.toFixed(2))),
      h(
        Box,
        { width: 12, justifyContent: 'flex-end' },
        h(Text, { color: change < 0 ? 'red' : 'green' }, `${change >= 0 ? '+' : ''}${change.toFixed(1)} bp`),
      ),
      h(Text, null, '  '),
      h(Text, { color: 'cyan' }, sparkline(closes)),
    );
  });
}

/** The whole screen as an element, for the terminal and for tests. */
export function Dashboard({ input }: { input: ViewInput }): ReactElement {
  const { snapshot, rates } = input;
  const acknowledged = snapshot.ws?.acknowledged ?? {};
  const watermark = lowestWatermark(snapshot);
  const decisions = snapshot.trade?.decisions ?? {};
  const reasons = Object.entries(snapshot.trade?.reject_reasons ?? {})
    .sort((a, b) => b[1] - a[1])
    .slice(0, 4)
    .map(([code, count]) => `${code} ${count}`)
    .join('  ');
  const positions = (snapshot.trade?.positions ?? []).map(({ symbol, qty }) => `${symbol} ${qty}`).join('  ');
  const newest = input.restarts.at(-1);
  return h(
    Box,
    { flexDirection: 'column', paddingX: 1 },
    h(
      Text,
      { bold: true },
      `torghut up   ${marketText(input.marketNowNs)}   ${input.speed.toFixed(1)}x of ${input.maximumSpeed}x   ${input.phase}`,
    ),
    row('health', ...health(input)),
    row(
      'ingest',
      `${grouped(acknowledged.trades ?? 0)} trades (${grouped(rates.trades ?? 0)}/s)   ` +
        `${grouped(acknowledged.quotes ?? 0)} quotes (${grouped(rates.quotes ?? 0)}/s)   ` +
        `gaps ${snapshot.ws?.gaps.open ?? 0} open, ${snapshot.ws?.gaps.repaired ?? 0} repaired`,
    ),
    row(
      'analysis',
      `${grouped(snapshot.ta?.bars_out ?? 0)} bars   ${grouped(snapshot.ta?.signals_out ?? 0)} signals   ` +
        `watermark ${watermark === undefined ? 'none yet' : marketText(watermark).slice(11)}`,
    ),
    row('stored', `${grouped(snapshot.sink?.rows.signals ?? 0)} signals   lag ${(input.lagMs / 1000).toFixed(1)} s`),
    row(
      'trading',
      `${grouped(decisions.submitted ?? 0)} submitted   ${grouped(decisions.rejected ?? 0)} rejected   ` +
        `${snapshot.trade?.orders_open ?? 0} open   ${reasons}`,
    ),
    row('positions', positions || 'flat'),
    h(Text, null, ' '),
    ...barLines(input),
    h(Text, null, ' '),
    h(
      Text,
      { dimColor: true },
      `restarts ${input.restarts.length}${newest ? ` (last: ${newest.process}, ${newest.cause})` : ''}   ` +
        `home ${input.home}   Ctrl-C stops`,
    ),
  );
}

export interface RunningDashboard {
  draw(input: ViewInput): void;
  close(): void;
}

/** Starts drawing on the terminal; Ctrl-C stays with the process's own signal handling. */
export function openDashboard(first: ViewInput): RunningDashboard {
  const app = render(h(Dashboard, { input: first }), { exitOnCtrlC: false });
  return {
    draw: (input) => app.rerender(h(Dashboard, { input })),
    close: () => app.unmount(),
  };
}
