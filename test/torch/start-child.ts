/** Starts a worker, or as many as the second argument says, on the interpreter of the first, prints its process id, and waits to be killed. */
import { setTimeout as sleep } from "node:timers/promises";
import { createTorchEngine } from "../../src/engines/torch/engine.ts";

const [python = "", workers = "1"] = process.argv.slice(2);
const engine = await createTorchEngine({ python, device: "cpu", threads: 1, workers: Number(workers) });
process.stdout.write(`${engine.device.pid}\n`);
await sleep(600_000);
