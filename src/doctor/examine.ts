/** What this machine can do and what is in the way: facts, then judgement. */
import { type GatherOptions, gatherFacts } from "./gather.ts";
import { type DoctorReport, judgeMachine } from "./judge.ts";

/** About ten seconds where PyTorch is, two where it is not. */
export async function examine(options: GatherOptions): Promise<DoctorReport> {
  return judgeMachine(await gatherFacts(options));
}
