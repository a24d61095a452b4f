/** Carries out the plan in the file of its first argument and prints each event, after a preflight if the second argument says so; for tests that kill it or take its disk away. */
import { readFile } from "node:fs/promises";
import type { TrainPlan } from "../src/planner/plan.ts";
import { train } from "../src/trainer/train.ts";
import { toyOptions } from "./toy-run.ts";

const [planPath = "", how] = process.argv.slice(2);
const plan = JSON.parse(await readFile(planPath, "utf8")) as TrainPlan;
for await (const event of train(plan, { ...toyOptions, preflight: how === "preflight" })) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}
