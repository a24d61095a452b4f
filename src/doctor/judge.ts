/** From what is known of a machine to what is wrong with it and how to mend it. Pure: tested with recorded machines. */
import type { MachineFacts } from "./facts.ts";
import type { Finding, Judge } from "./finding.ts";
import { judgeAmd, judgeHiddenCards, judgeNvidiaDriver, judgeNvidiaMemory } from "./judge-cards.ts";
import { judgeAll, judgeEngines, type Verdict } from "./judge-engines.ts";
import { judgeEnvironment, judgePythons, judgeSeveralPythons } from "./judge-python.ts";
import { judgeDisks, judgeMemory, judgeSystem } from "./judge-system.ts";
import { judgeTorch, judgeUnusedCard } from "./judge-torch.ts";

const judges: readonly Judge[] = [
  ...[judgeSystem, judgeMemory, judgeDisks],
  ...[judgeNvidiaDriver, judgeHiddenCards, judgeAmd],
  ...[judgeTorch, judgeUnusedCard, judgeEngines],
  ...[judgePythons, judgeSeveralPythons, judgeEnvironment, judgeNvidiaMemory],
];

export interface DoctorReport {
  readonly verdict: Verdict;
  /** What is broken first. */
  readonly findings: readonly Finding[];
  readonly facts: MachineFacts;
}

/** @example const { verdict, findings } = judgeMachine(await gatherFacts(options)); */
export function judgeMachine(facts: MachineFacts): DoctorReport {
  const all = judges.flatMap((judge) => judge(facts));
  const findings = [...all.filter(({ mark }) => mark === "broken"), ...all.filter(({ mark }) => mark === "mind")];
  return { verdict: judgeAll(facts, findings), findings, facts };
}
