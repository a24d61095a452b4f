/** What is wrong with the machine, as findings of the plan. */
import { type EngineCheck, isRight, type OperationCheck } from "../engines/check-engine.ts";
import { boundFinding, type PlanFinding } from "../planner/rules/table.ts";

/** What doctor found, in what matters here. */
export interface MachineNote {
  readonly id: string;
  /** "mind": it works, and there is something to know. */
  readonly mark: "broken" | "mind";
  readonly message: string;
  readonly mend: string;
}

/** An error for each thing that is broken. */
export function findFaults(notes: readonly MachineNote[]): readonly PlanFinding[] {
  return notes.filter(({ mark }) => mark === "broken").map(({ message, mend }) => boundFinding("machine", message, mend));
}

/** An error for each operation that is not right; none where it was not looked at. @param name of the device */
export function findWrongEngine(name: string, check: EngineCheck | undefined): readonly PlanFinding[] {
  const operations: readonly OperationCheck[] = check ? [check.matmul, check.attention] : [];
  return operations
    .filter((operation) => !isRight(operation))
    .map(({ what, worstError, bound }) => {
      const off = Number.isFinite(worstError) ? `off by ${(100 * worstError).toPrecision(2)} %` : "not numbers";
      return boundFinding("engine", `On ${name} the check is wrong: ${what}, ${off}; rounding explains ${100 * bound} %.`);
    });
}
