/** Options that say where the ws in question is: a home of this machine, an address, or a cluster. */
import type { Command } from 'commander';
import { type Kubectl, openKubectl } from '../lib/cluster/kubectl.ts';
import { defaultNamespace, defaultPlace, type WsPlace } from '../lib/cluster/ws-deployment.ts';
import { usageError } from '../lib/service/errors.ts';

export interface PlaceOptions {
  home?: string;
  url?: string;
  cluster: boolean;
  context?: string;
  namespace?: string;
  deployment: string;
}

export function placeOptions(command: Command): Command {
  return command
    .option('--home <dir>', 'home of the run (default: the newest)')
    .option('--url <url>', 'address of the health endpoint, when ws is not one of this home')
    .option('--cluster', 'the ws of a Kubernetes cluster, by kubectl and its current context', false)
    .option('--context <name>', 'with --cluster: another context')
    .option('--namespace <name>', `with --cluster: namespace (default: ${defaultNamespace})`)
    .option('--deployment <name>', 'with --cluster: deployment of ws', defaultPlace.deployment);
}

/** kubectl for the cluster that the options name; undefined when they name none. @throws `bad_place` (exit 2) */
export function clusterOf(options: PlaceOptions): { kubectl: Kubectl | undefined; place: WsPlace } {
  const place = { ...defaultPlace, deployment: options.deployment };
  if (!options.cluster) {
    const needless =
      options.context !== undefined ? '--context' : options.namespace !== undefined ? '--namespace' : undefined;
    if (needless === undefined) return { kubectl: undefined, place };
    throw usageError({
      code: 'bad_place',
      what: `${needless} names a part of a cluster`,
      why: 'no cluster is asked without --cluster',
      next: `add --cluster, or leave ${needless} out`,
    });
  }
  return {
    kubectl: openKubectl({ namespace: options.namespace ?? defaultNamespace, context: options.context }),
    place,
  };
}
