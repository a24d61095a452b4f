/** `npm run bench`: measures what Gesso claims of speed and memory. Run with --help for more. */
import { parseArgs } from "node:util";
import { countThreads, nameDevice } from "../src/engines/ort/device.ts";
import { findNearest, UserError } from "../src/errors.ts";
import { type BenchOptions, type Claim, describeMachine } from "./claim.ts";
import { speedClaim } from "./speed.ts";
import { forecast } from "./forecast.ts";
import { grid } from "./grid.ts";
import { heldOut } from "./held-out.ts";
import { inspectFaces } from "./inspect/faces.ts";
import { inspectTrigger } from "./inspect/trigger.ts";
import { inspectProof } from "./inspect/proof.ts";
import { inspectSpeed } from "./inspect/speed.ts";
import { makeFullSize } from "./make-full-size.ts";
import { packGpu } from "./pack-gpu.ts";
import { quantised } from "./quantised.ts";
import { sdxlMemory } from "./sdxl-memory.ts";
import { sdxlStep } from "./sdxl-step.ts";
import { steady } from "./steady.ts";
import { torchSdxl } from "./torch-sdxl.ts";
import { torchStep } from "./torch-step.ts";
import { workloads } from "./workloads.ts";

const claims: readonly Claim[] = [
  ...workloads.map(speedClaim),
  torchStep,
  steady,
  heldOut,
  forecast,
  grid,
  inspectSpeed,
  inspectProof,
  inspectFaces,
  inspectTrigger,
  makeFullSize("sdxl"),
  makeFullSize("sd15"),
  sdxlStep,
  sdxlMemory,
  quantised,
  torchSdxl,
  packGpu,
];

const help = `Measures what Gesso claims of speed and memory, on this machine. Keep it idle meanwhile.

Usage: npm run bench -- [NAME...] [--python PATH] [--threads N] [--rounds N] [--steps N] [--warmup N]
                            [--base MODEL] [--out DIR] [--form file|folder] [--pictures N] [--part NAME] [--reduced]

${claims.map(({ name, about }) => `  ${name.padEnd(18)}  ${about}`).join("\n")}

  --python PATH       an interpreter with torch, diffusers and peft: times the same step there, in turn, and prints the ratio
  --threads N         of both sides; default: the processors that this process may use
  --rounds N          turns that each side gets; default 5
  --steps N           steps with the clock on in each turn; default 3
  --warmup N          steps before them in each turn; default 1
  --base MODEL        the base model of sdxl-step: a single file, or a folder in the diffusers layout
  --out DIR           where make-sdxl and make-sd15 write: sdxl.safetensors or sd15.safetensors; and where inspect keeps its
                      pictures for the next time
  --reduced           torch-sdxl and pack-gpu with blocks that a processor can run
  --form file|folder  or the folder sdxl or sd15 in the diffusers layout; default: file
  --pictures N        that inspect makes and looks at; default 1000
  --part NAME         of inspect-proof: tune, test, blind, fresh or captions; default: all

Example: npm run bench -- mini-step --python .venv/bin/python

bench/ort-forms.ts compares the forms in which ONNX Runtime can run an operation: npx tsx bench/ort-forms.ts
`;

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = readArguments(args);
  if (values.help) {
    console.log(help);
    return;
  }
  const threads = readCount("threads", values.threads, countThreads());
  const options: BenchOptions = {
    threads,
    rounds: readCount("rounds", values.rounds, 5),
    steps: readCount("steps", values.steps, 3),
    warmup: readCount("warmup", values.warmup, 1),
    pictures: readCount("pictures", values.pictures, 1000),
    part: values.part,
    python: values.python,
    base: values.base,
    out: values.out,
    form: readForm(values.form),
    isReduced: values.reduced === true,
    machine: describeMachine(nameDevice(threads)),
  };
  const chosen = positionals.length === 0 ? claims.filter(({ onlyWhenNamed }) => !onlyWhenNamed) : positionals.map(findClaim);
  for (const claim of chosen) console.log(`${(await claim.run(options)).join("\n")}\n`);
}

function readArguments(args: readonly string[]) {
  const text = { type: "string" } as const;
  const options = {
    help: { type: "boolean", short: "h" },
    python: text,
    threads: text,
    rounds: text,
    steps: text,
    warmup: text,
    base: text,
    out: text,
    form: text,
    pictures: text,
    part: text,
    reduced: { type: "boolean" },
  } as const;
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    throw new UserError((error as Error).message, {
      fix: "npm run bench -- --help lists the options.",
      exitCode: 2,
      cause: error,
    });
  }
}

function readCount(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new UserError(`--${name} is ${text}.`, { fix: "Give a whole number of at least 1.", exitCode: 2 });
}

function readForm(text: string | undefined): BenchOptions["form"] {
  if (text === undefined || text === "file" || text === "folder") return text ?? "file";
  throw new UserError(`--form is ${text}.`, { fix: "Give file or folder.", exitCode: 2 });
}

function findClaim(name: string): Claim {
  const names = claims.map((claim) => claim.name);
  const found = claims.find((claim) => claim.name === name);
  if (found) return found;
  const nearest = findNearest(name, names);
  const fix = `${nearest ? `Did you mean ${nearest}? ` : ""}Choose one or more of ${names.join(", ")}.`;
  throw new UserError(`There is no measurement ${JSON.stringify(name)}.`, { fix, exitCode: 2 });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(error.fix === undefined ? error.message : `${error.message}\nFix: ${error.fix}`);
  process.exitCode = error.exitCode;
}
