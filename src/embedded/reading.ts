/**
 * One read against a store that may be another command's: an embedded store ends with the command that started it, also while
 * a second one reads. A read can simply be done again, against a store that is found or started anew.
 */
import { exitCode, TorghutError } from '../lib/service/errors.ts';

const attempts = 3;

/**
 * @param canRepeat false for statements that change something: those are never sent twice
 * @throws the last error of `use`
 */
export async function readFromStore<S extends { close(): Promise<void> }, T>(
  open: () => Promise<S>,
  use: (store: S) => Promise<T>,
  canRepeat: boolean,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const store = await open();
    try {
      return await use(store);
    } catch (error) {
      const isGone = error instanceof TorghutError && error.exitCode === exitCode.unreachable;
      if (!isGone || !canRepeat || attempt === attempts) throw error;
    } finally {
      await store.close();
    }
  }
}
