import { describe, expect, test } from 'vitest';
import { StoreCircuit } from '../../src/daemons/sink/circuit.ts';
import { refusedError } from '../../src/lib/service/errors.ts';

function circuitWith(errors: unknown[]): { circuit: StoreCircuit; states: string[]; work: () => Promise<void> } {
  const states: string[] = [];
  const circuit = new StoreCircuit({
    baseMs: 1,
    maxMs: 4,
    random: () => 0.5,
    onError: () => states.push(circuit.state),
  });
  const work = async () => {
    states.push(circuit.state);
    const error = errors.shift();
    if (error !== undefined) throw error;
  };
  return { circuit, states, work };
}

const never = new AbortController().signal;

describe('the circuit of the sink', () => {
  test('a full disk opens it, a probe that fails keeps it open, one that succeeds closes it', async () => {
    const { circuit, states, work } = circuitWith([
      { code: '243' },
      new Error('No space left on device'),
      { code: '202' },
    ]);
    expect(await circuit.run(work, never)).toBe(true);
    expect(states).toEqual(['closed', 'open', 'half_open', 'open', 'half_open', 'open', 'half_open']);
    expect([circuit.state, circuit.error]).toEqual(['closed', undefined]);
  });

  test('what passes by itself is waited for with the circuit closed, and says why', async () => {
    const { circuit, states, work } = circuitWith([{ code: 'ECONNREFUSED' }, { code: '241' }]);
    expect(await circuit.run(work, never)).toBe(true);
    expect(states).toEqual(['closed', 'closed', 'closed', 'closed', 'closed']);
  });

  test('what never passes ends the sink, and a refusal of our own is handed on as it is', async () => {
    const rejected = circuitWith([{ code: '60' }]);
    await expect(rejected.circuit.run(rejected.work, never)).rejects.toMatchObject({
      code: 'sink_store_rejects',
      exitCode: 4,
    });
    const refusal = refusedError({ code: 'run_mismatch', what: 'another run' });
    const refused = circuitWith([refusal]);
    await expect(refused.circuit.run(refused.work, never)).rejects.toBe(refusal);
  });

  test('a signal ends the wait without a result', async () => {
    const stop = new AbortController();
    const { circuit } = circuitWith([]);
    const run = circuit.run(() => Promise.reject(new Error('socket hang up')), stop.signal);
    setTimeout(() => stop.abort(), 20);
    expect(await run).toBe(false);
    expect(circuit.error).toContain('socket hang up');
  });
});
