/** The product's way: every order through the desk. Arguments: JSON of TraderArguments. */
import { type TraderArguments, trade } from './trade-list.ts';

await trade(JSON.parse(process.argv[2] as string) as TraderArguments, ({ desk }, order) => desk.submit(order));
