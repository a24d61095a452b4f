/** Writes docs/plan.md from the tables of rules and limits, so that none is told twice. Run with --help for more. */
import { readFileSync, writeFileSync } from "node:fs";
import { formatLimit, type Limit, limits } from "../src/planner/limits.ts";
import type { RuleText } from "../src/planner/rules/rule.ts";
import { adapterRules } from "../src/planner/rules/adapter-rules.ts";
import { measuringRules } from "../src/planner/rules/measuring-rules.ts";
import { objectiveRules } from "../src/planner/rules/objective-rules.ts";
import { pictureRules } from "../src/planner/rules/picture-rules.ts";
import { boundRules } from "../src/planner/rules/table.ts";

const path = "docs/plan.md";

const intro = `# gesso plan

Says what \`gesso train\` would do, why, and what it will take: it takes the same options, trains nothing, and leaves nothing
behind but measurements in Gesso's cache.

\`\`\`
gesso plan ./pictures --type style --trigger mystyle
gesso plan ./pictures --type character --trigger sks --base sdxl.safetensors --prices my-prices.json --json
\`\`\`

- **Every value has a reason and a source** (in brackets): a trainer's documentation or code, published logs, or *heuristic*, Gesso's own choice.
  \`src/planner/recipes.ts\` holds the recipes, \`src/planner/sources.ts\` their sources.
- **The dose** tells how far a plan moves the weights (mean rate x sqrt(alpha x batch) x steps), and where it lies among known recipes. It spans
  ten times between recipes that people are content with: use it to compare your own runs.
- **The rules** below judge the plan. Errors stop \`gesso train\` unless \`--yes\`, warnings only with \`--strict\`. What you set by hand is kept and judged.
- **Held-out pictures** are chosen from the groups of pictures that look alike, by the seed, and none that is nearly the same stays in training;
  plan.json names them, and a run that goes on holds out the same. Of fewer than 15 pictures, and where the library trains without an
  inspection, the seed alone chooses.
- **Memory** is counted from the graphs that the run will compile, term by term, at its worst moment. Where it does not fit, the mildest change
  that helps is made, and the reason says so: recomputing activations, or a smaller batch with accumulation, whichever is faster; smaller
  previews or none; a narrower precision. What you chose is kept. Where nothing fits, the plan is refused with what would.
- **Time** follows from the graphs' operations and bytes and this machine's measured rates; after the preflight of \`gesso train\` it is what was measured.
- **The machine**: disks, memory and what holds a card's memory are looked at as \`gesso doctor\` does, and the engine's product and attention are
  held against exact ones. What is broken is an error of the plan, the rest is told on the page.
- **The preflight** of \`gesso train\` takes a step, a measurement, a step of a preview and a checkpoint on the largest pictures, compiles the
  step for every other size as far as ten seconds go, checks the graphs of the rest, and looks once more for room on the disk, by what that checkpoint took.
  It prints what was measured beside what was predicted, and leaves no trace in the run's numbers.
- **Rented cards** come from a dated table of prices and rates by rule of thumb (\`src/planner/gpu-prices.ts\`); \`--prices FILE\` takes your own.
  A run that is over in seconds costs about the same time on each: renting is most of it, and the page says so.

Predictions are held against nine real runs on \`mini\` by \`npm run bench -- forecast\`: the last time memory was within 10 % in all nine (0.97 to 1.07 of what was predicted) and a step's time within 25 % in 5 of 9 (0.84 to 1.47), on a machine
that others used too. \`gesso train\` prints what it measured. See [performance](performance.md) for what else is known of memory.

## Rules

An **error** would waste the run, a **warning** will probably show in the result. Sources and limits marked *heuristic* are Gesso's own choice:
nobody has published a value. Each rule is tested on a plan that it speaks of and on one that it does not (\`src/planner/rules/table.test.ts\`).
`;

const elsewhere = `## What needs no rule here

Mistakes that other trainers warn of and that cannot be made with Gesso:

- Rates, restarts, LoRA+ or fused backward passes that do not go with an optimizer: there is one optimizer, AdamW, and its rate is constant or falls along one cosine.
- Cached text embeddings together with caption dropout or a text encoder that is trained: the empty caption is cached beside the others, and
  captions are encoded in every step where a text encoder is trained. Tags are never shuffled, so there are none to keep in place.
- Cached latents together with random crops or colour changes: there are neither; mirrored pictures are encoded by themselves.
- A VAE that overflows in half precision: it is computed in float32, whatever the rest is in.
- Swapped blocks that do not go with recomputing: blocks are not swapped.
- A v-prediction base trained as if it predicted noise: the prediction type is the base's own (\`prediction.mismatch\` guards the library's callers).
- Regularisation pictures that outnumber the training pictures, and settings of Flux and Chroma: neither is trained.
`;

const groups: readonly (readonly [heading: string, rules: readonly RuleText[]])[] = [
  ["The base, the objective and the device", objectiveRules],
  ["The adapter and its rates", adapterRules],
  ["Pictures and captions", pictureRules],
  ["Checkpoints and measuring", measuringRules],
  ["What the machine has", Object.values(boundRules)],
];

function describeLimit(name: string, limit: Limit): string {
  return `\`${name}\` ${formatLimit(limit)}: ${limit.about} (${limit.source})`;
}

function describeRule(rule: RuleText): readonly string[] {
  return [
    `**\`${rule.id}\`** (${rule.severity}): ${rule.title}. ${rule.reason}`,
    ``,
    `- Mend: ${rule.mend}`,
    `- Source: ${rule.source}`,
    ...(rule.limits.length === 0 ? [] : ["- Held against:"]),
    ...rule.limits.map((name) => `  - ${describeLimit(name, limits[name])}`),
    ``,
  ];
}

/** The page as it should be. */
export function renderPlanDocs(): string {
  const rules = groups.flatMap(([heading, list]) => [`### ${heading}`, ``, ...list.flatMap(describeRule)]);
  const named = new Set<string>(groups.flatMap(([, list]) => list.flatMap((rule) => rule.limits)));
  const others = Object.entries<Limit>(limits).filter(([name]) => !named.has(name));
  const table = ["## Other limits", "", ...others.map(([name, limit]) => `- ${describeLimit(name, limit)}`), ""];
  return `${[intro, ...rules, elsewhere, ...table].join("\n").trimEnd()}\n`;
}

if (process.argv[1]?.endsWith("plan-docs.ts")) {
  if (process.argv.includes("--help")) {
    console.log(
      `Usage: npx tsx scripts/plan-docs.ts [--check]\nWrites ${path} from the planner's tables; --check only says whether it is up to date.`,
    );
  } else if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== renderPlanDocs()) {
      console.error(`${path} is out of date: npx tsx scripts/plan-docs.ts`);
      process.exitCode = 1;
    }
  } else writeFileSync(path, renderPlanDocs());
}
