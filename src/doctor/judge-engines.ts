/** Judges of the engines as they were measured, and the verdict. */
import { type EngineCheck, isRight } from "../engines/check-engine.ts";
import type { EngineFacts, MachineFacts } from "./facts.ts";
import type { Finding, Judge } from "./finding.ts";
import { systemAllowsRuns } from "./judge-system.ts";

export type MeasuredEngine = Extract<EngineFacts, { check: EngineCheck }>;

export function isMeasured(engine: EngineFacts): engine is MeasuredEngine {
  return "check" in engine;
}

export function worksRight(engine: EngineFacts): engine is MeasuredEngine {
  return isMeasured(engine) && isRight(engine.check.matmul) && isRight(engine.check.attention);
}

export const judgeEngines: Judge = ({ engines, pythons }) => {
  return engines.flatMap((engine): readonly Finding[] => {
    const name = engine.engine === "ort" ? "The CPU engine (ONNX Runtime)" : `The torch engine (${engine.python ?? "?"})`;
    if (!isMeasured(engine)) {
      // Where PyTorch itself could not be loaded, judge-torch.ts says more.
      if (engine.engine === "torch" && pythons.some(({ torch }) => torch?.status === "failed")) return [];
      const mend = engine.fix ?? (engine.engine === "ort" ? "Install Gesso's packages again (npm ci)." : "gesso setup torch");
      return [
        {
          id: `${engine.engine}-fails`,
          area: "engine",
          mark: "broken",
          message: `${name} fails: ${engine.problem.replace(/\.$/, "")}.`,
          mend,
        },
      ];
    }
    return [engine.check.matmul, engine.check.attention].flatMap((check): readonly Finding[] => {
      if (isRight(check)) return [];
      const off = Number.isFinite(check.worstError) ? `off by ${(100 * check.worstError).toPrecision(2)} %` : "not numbers";
      const message = `${name} computes wrong on ${engine.name}: a ${check.what} in ${engine.check.precision} is ${off}; rounding explains ${100 * check.bound} %.`;
      const mend =
        "Undo any overclocking, update the driver, and try another PyTorch (gesso setup torch); until then: --engine ort.";
      return [{ id: `${engine.engine}-wrong`, area: "engine", mark: "broken", message, mend }];
    });
  });
};

export interface Verdict {
  /** Whether a run can begin as things are. */
  readonly canTrain: boolean;
  /** One sentence for somebody who reads nothing else. */
  readonly headline: string;
  /** What can be expected, in one or two more. */
  readonly outlook: string;
}

/** @param findings of all judges */
export function judgeAll(facts: MachineFacts, findings: readonly Finding[]): Verdict {
  const { choice, choiceProblem, engines } = facts;
  if (choiceProblem !== null) {
    const outlook = "Without --python, Gesso would use the processor or what gesso setup torch installs.";
    return { canTrain: false, headline: `With the Python that was given, a run cannot begin. ${choiceProblem}`, outlook };
  }
  const chosen = engines.find(({ engine }) => engine === choice.engine);
  const first = findings.find(({ mark }) => mark === "broken");
  if (!systemAllowsRuns(facts) || chosen === undefined || !worksRight(chosen)) {
    const why = first ? `: ${first.message[0]?.toLowerCase()}${first.message.slice(1)}` : ".";
    return { canTrain: false, headline: `Gesso cannot train here yet${why}`, outlook: "What to do is said below." };
  }
  const onCard = choice.engine === "torch" && choice.device !== "cpu";
  const where = onCard ? chosen.name : `the processor (${chosen.name})`;
  const hasFault = findings.some(
    ({ area, mark, id }) => (area === "card" || area === "engine") && (mark === "broken" || id === "card-unused"),
  );
  const unused = !onCard && hasFault ? " The graphics card is not used; what is in the way is said below." : "";
  return {
    canTrain: true,
    headline: `Gesso can train here, on ${where}.`,
    outlook: onCard
      ? "gesso train uses it by itself."
      : `The bundled base model (mini) trains in minutes; SD 1.5 and SDXL want a graphics card.${unused}`,
  };
}
