/** The rules that a plan is judged by: what is refused, what is warned of, why, and what to do instead. One table. */
import { from, heuristic } from "../sources.ts";
import { adapterRules } from "./adapter-rules.ts";
import { measuringRules } from "./measuring-rules.ts";
import { objectiveRules } from "./objective-rules.ts";
import { pictureRules } from "./picture-rules.ts";
import type { PlanFinding, PlanRule, RuleInput, RuleSeverity, RuleText } from "./rule.ts";

export type { PlanFinding } from "./rule.ts";

/** In the order in which they are told, errors before warnings. */
export const planRules: readonly PlanRule[] = [...adapterRules, ...objectiveRules, ...pictureRules, ...measuringRules];

/** What is judged by a forecast and by the disks, not by the settings alone; see `prospectRun`. */
export const boundRules = {
  memory: {
    id: "memory.too-small",
    severity: "error",
    title: "the run does not fit the device's memory",
    reason: "It would stop at its first step, or at the first of its largest pictures.",
    mend: "See what would fit.",
    source: heuristic(),
    limits: ["memoryMargin"],
  },
  disk: {
    id: "disk.too-small",
    severity: "error",
    title: "the disk cannot hold what the run will write",
    reason: "A checkpoint that cannot be written ends the run.",
    mend: "Free some space, give another --out, or raise --checkpoint-every.",
    source: from("gesso"),
    limits: [],
  },
  engine: {
    id: "engine.wrong",
    severity: "error",
    title: "the engine computes wrong",
    reason: "A product of two matrices or an attention is not what arithmetic gives: nor would the adapter be.",
    mend: "Run gesso doctor; until it finds the engine right, take another: --engine ort.",
    source: from("doctor"),
    limits: [],
  },
  machine: {
    id: "machine.fault",
    severity: "error",
    title: "the machine cannot do it",
    reason: "gesso doctor calls it broken: a folder that takes no files, a Node that is too old, a system without builds.",
    mend: "Run gesso doctor.",
    source: from("doctor"),
    limits: [],
  },
} as const satisfies Readonly<Record<string, RuleText>>;

/** What a bound rule has found. @param mend where there is better advice than the rule's own */
export function boundFinding(rule: keyof typeof boundRules, message: string, mend?: string): PlanFinding {
  const { id, severity, reason, source, mend: usual } = boundRules[rule];
  return { id, severity, message, mend: mend ?? usual, reason, source };
}

/** A plan with findings that were made later, errors first. */
export function withFindings<P extends { readonly findings?: readonly PlanFinding[] }>(
  plan: P,
  more: readonly PlanFinding[],
): P & { readonly findings: readonly PlanFinding[]; readonly warnings: readonly string[] } {
  const findings = errorsFirst([...more, ...(plan.findings ?? [])]);
  return { ...plan, findings, warnings: findings.map(tellFinding) };
}

function errorsFirst(findings: readonly PlanFinding[]): readonly PlanFinding[] {
  const of = (severity: RuleSeverity) => findings.filter((finding) => finding.severity === severity);
  return [...of("error"), ...of("warning")];
}

/** What the rules find in a plan, errors first. */
export function judge(input: RuleInput): readonly PlanFinding[] {
  const found = planRules.flatMap(({ find, id, severity, mend, reason, source }): PlanFinding[] => {
    const message = find(input);
    return message === undefined ? [] : [{ id, severity, message, mend, reason, source }];
  });
  return errorsFirst(found);
}

/** A finding in a line. */
export function tellFinding({ message, mend }: Pick<PlanFinding, "message" | "mend">): string {
  return `${message} ${mend}`;
}
