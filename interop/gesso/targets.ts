/**
 * The layers that a run trains, in Gesso's order, which their random beginnings follow: a line of JSON.
 *
 * Usage: npx tsx interop/gesso/targets.ts BASE SET TEXT_ENCODER_RATE
 */
import { openBase, targetSets } from "../../src/index.ts";
import { findTrainedTargets } from "../../src/planner/targets.ts";

const [basePath = "", name = "", rateText = ""] = process.argv.slice(2);
const base = await openBase(basePath);
const targets = targetSets.find((set) => set === name);
if (!targets) throw new Error(`one of ${targetSets.join(", ")} needed, got ${name}`);
const rate = Number(rateText);
const found = findTrainedTargets(base, { targets, textEncoderLearningRate: rate, textEncoder2LearningRate: rate });
console.log(JSON.stringify({ paths: found.map(({ path }) => path) }));
