/** Carries out the plan in the file of its first argument and prints each event; for tests that kill it. */
import { readFile } from "node:fs/promises";
import type { TrainPlan } from "../src/planner/plan.ts";
import { train } from "../src/trainer/train.ts";
import { toyOptions } from "./toy-run.ts";

const [planPath = ""] = process.argv.slice(2);
for await (const event of train(JSON.parse(await readFile(planPath, "utf8")) as TrainPlan, toyOptions)) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}
