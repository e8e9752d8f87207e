/** Settings of `torghut history`. */
import { kind, type Variable } from '../../lib/service/config.ts';

export const historyVariables = {
  TORGHUT_HISTORY_PORT: {
    parse: kind.integer(0, 65_535),
    default: 8_190,
    describe: 'Port of the history API; 0 picks a free one',
  } satisfies Variable<number>,
  TORGHUT_HISTORY_HOST: {
    parse: kind.text,
    default: '127.0.0.1',
    describe: 'Address that the history API listens on; it has no login, so anything but loopback belongs behind one',
  } satisfies Variable<string>,
};
