import { expect, test } from "vitest";
import { planOptions, trainOptions } from "./train-options.ts";

test("gesso plan takes every option of gesso train that is not about carrying the plan out", () => {
  const carryingOut = ["torchrun", "resume", "yes", "strict", "no-preflight"];
  const expected = Object.keys(trainOptions).filter((name) => !carryingOut.includes(name));
  expect(Object.keys(planOptions).sort()).toEqual(expected.sort());
});
