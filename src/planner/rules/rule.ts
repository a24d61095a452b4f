/** What a rule is: a small pure function over a plan's settings, and the words that go with what it finds. */
import type { LimitName } from "../limits.ts";
import type { BaseFacts, DatasetFacts, DeviceFacts, TrainSettings, UserChoices } from "../plan.ts";
import type { RecipeFamily } from "../recipes.ts";

/** error: the run would be wasted, and is not begun unless the user insists; warning: the result will probably suffer. */
export type RuleSeverity = "error" | "warning";

/** What a rule has found in a plan. */
export interface PlanFinding {
  readonly id: string;
  readonly severity: RuleSeverity;
  /** One or two sentences with the numbers. */
  readonly message: string;
  readonly mend: string;
  /** Why it matters. */
  readonly reason: string;
  readonly source: string;
}

/** Everything that rules may look at. */
export interface RuleInput {
  readonly settings: TrainSettings;
  readonly choices: UserChoices;
  readonly dataset: DatasetFacts;
  readonly base: BaseFacts;
  readonly family: RecipeFamily;
  readonly device: DeviceFacts | undefined;
}

/** A rule as docs/plan.md tells it. */
export interface RuleText extends Omit<PlanFinding, "message"> {
  /** What is wrong, in a few words. */
  readonly title: string;
  /** Rows of `limits` that it goes by. */
  readonly limits: readonly LimitName[];
}

/** A rule as a row of the table. */
export interface PlanRule extends RuleText {
  /** What is wrong, with the numbers; undefined where nothing is. */
  readonly find: (input: RuleInput) => string | undefined;
}
