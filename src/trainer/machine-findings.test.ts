/** What is wrong with a machine becomes an error of the plan. */
import { expect, test } from "vitest";
import type { EngineCheck, OperationCheck } from "../engines/check-engine.ts";
import { findFaults, findWrongEngine } from "./machine-findings.ts";

const right: OperationCheck = { what: "matrix product of 8 x 8", flopsPerSecond: 1, worstError: 1e-5, bound: 1e-4 };
const check = (worstError: number): EngineCheck => {
  return { precision: "float32", matmul: right, attention: { ...right, what: "attention", worstError } };
};

test("only what is broken is an error", () => {
  const note = { id: "disk-slow-runs", message: "The disk is slow.", mend: "Take another." };
  expect(findFaults([{ ...note, mark: "mind" }])).toEqual([]);
  expect(findFaults([{ ...note, mark: "broken" }])).toMatchObject([
    { id: "machine.fault", severity: "error", message: "The disk is slow.", mend: "Take another." },
  ]);
});

test("an engine is wrong where its error is above what rounding explains, or no number", () => {
  expect(findWrongEngine("card", undefined)).toEqual([]);
  expect(findWrongEngine("card", check(1e-4))).toEqual([]);
  expect(findWrongEngine("card", check(1.1e-4))).toMatchObject([
    {
      id: "engine.wrong",
      severity: "error",
      message: "On card the check is wrong: attention, off by 0.011 %; rounding explains 0.01 %.",
    },
  ]);
  expect(findWrongEngine("card", check(Infinity))[0]?.message).toContain("attention, not numbers");
});
