/** What the tests of processes.ts start: does what its input names. */
import { UserError } from "../../src/errors.ts";
import { answerParent } from "../../src/processes.ts";

answerParent(async (input: { readonly do: "double" | "refuse" | "end"; readonly values: Float32Array }) => {
  if (input.do === "refuse") throw new UserError("No.", { fix: "Ask for something else." });
  if (input.do === "end") process.exit(3);
  return Promise.resolve({ pid: process.pid, values: input.values.map((value) => 2 * value) });
});
