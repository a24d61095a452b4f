/** What this machine can do and what is in the way: facts, then judgement. */
import { type GatherOptions, gatherFacts } from "./gather.ts";
import { type DoctorReport, judgeMachine } from "./judge.ts";

/** Takes longest where PyTorch is: it has to be loaded. */
export async function examine(options: GatherOptions): Promise<DoctorReport> {
  return judgeMachine(await gatherFacts(options));
}
