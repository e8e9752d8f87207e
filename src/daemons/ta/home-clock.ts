/** Market time for a command that acts on a home: the clock that its processes use, also when none of them runs. */
import { existsSync } from 'node:fs';
import { type Clock, openClock } from '../../lib/service/clock.ts';
import { homePaths } from '../../lib/service/home.ts';

export function clockOfHome(home: string, env: NodeJS.ProcessEnv): Clock {
  const file = homePaths.clock(home);
  return openClock(env.TORGHUT_CLOCK || (existsSync(file) ? file : undefined));
}
