/** Trains mini: first its autoencoder, then its denoiser with both text encoders; then writes models/mini. Resumable. */
import path from "node:path";
import { parseArgs } from "node:util";
import type { Engine } from "../../src/engines/engine.ts";
import { createOrtEngine } from "../../src/engines/ort/engine.ts";
import { createTorchEngine } from "../../src/engines/torch/engine.ts";
import { listPythons } from "../../src/engines/torch/find-python.ts";
import { UserError } from "../../src/errors.ts";
import { trainDenoiser } from "./train-denoiser.ts";
import { trainDecoder, trainVae } from "./train-vae.ts";
import { exportMini } from "./export.ts";
import { seedState } from "./seed-state.ts";

const help = `Trains the bundled base model mini from its pictures. Takes hours on a CPU; stop it with Ctrl-C and run it again to go on.

Usage: npm run mini:train -- [options]
  --data DIR           the pictures of npm run mini:data      (default .cache/mini-data)
  --state DIR          where weights and optimizer are kept    (default .cache/mini-train)
  --from DIR           start from an exported model, such as models/mini, instead of random weights
  --stage vae|denoiser|decoder|export|all                      (default all)
  --out DIR            where the model is written               (default models/mini)
  --vae-steps N        steps of the autoencoder                (default 6000)
  --denoiser-steps N   steps of denoiser and text encoders     (default 6000)
  --decoder-steps N    further steps of the decoder alone      (default 6000)
  --engine ort|torch   what computes                           (default ort)
  --python PATH        Python with PyTorch, for torch          (default: the first that is found)
  --device NAME        cpu, cuda, cuda:1 or mps, for torch     (default: a GPU where there is one)
  --threads N          threads of the engine                   (default: all)
  --help               show this

Examples: npm run mini:train -- --stage vae
          npm run mini:train -- --from models/mini --stage denoiser --denoiser-steps 20000
          npm run mini:train -- --engine torch --python .venv/bin/python`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      data: { type: "string", default: ".cache/mini-data" },
      state: { type: "string", default: ".cache/mini-train" },
      from: { type: "string" },
      out: { type: "string", default: "models/mini" },
      stage: { type: "string", default: "all" },
      "vae-steps": { type: "string", default: "6000" },
      "denoiser-steps": { type: "string", default: "6000" },
      "decoder-steps": { type: "string", default: "6000" },
      engine: { type: "string", default: "ort" },
      python: { type: "string" },
      device: { type: "string", default: "auto" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return;
  }
  const folders = { data: path.resolve(values.data), state: path.resolve(values.state) };
  if (values.from) await seedState(values.from, folders.state);
  const stages = values.stage === "all" ? ["vae", "denoiser", "decoder", "export"] : [values.stage];
  const trainers = {
    vae: (engine: Engine) => trainVae(engine, folders, Number(values["vae-steps"])),
    denoiser: (engine: Engine) => trainDenoiser(engine, folders, Number(values["denoiser-steps"])),
    decoder: (engine: Engine) => trainDecoder(engine, folders, Number(values["decoder-steps"])),
  };
  for (const [stage, trainStage] of Object.entries(trainers)) {
    if (!stages.includes(stage)) continue;
    const engine = await openEngine(values);
    await trainStage(engine);
    await engine.dispose();
  }
  if (stages.includes("export")) await exportMini(folders, values.out);
}

/** With the same start, both engines take the same steps, up to rounding. */
function openEngine(options: EngineOptions): Promise<Engine> {
  const threads = options.threads === undefined ? {} : { threads: Number(options.threads) };
  if (options.engine === "ort") return createOrtEngine(threads);
  if (options.engine !== "torch") throw new UserError(`--engine is ${options.engine}.`, { fix: "Give ort or torch." });
  const python = options.python ?? listPythons(process.env, { onSearchPath: true })[0] ?? "python3";
  return createTorchEngine({ python, device: options.device, ...threads });
}

interface EngineOptions {
  readonly engine: string;
  readonly python?: string | undefined;
  readonly device: string;
  readonly threads?: string | undefined;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.error(error.fix === undefined ? error.message : `${error.message}\nFix: ${error.fix}`);
  process.exitCode = error.exitCode;
}
