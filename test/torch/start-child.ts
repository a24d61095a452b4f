/** Starts a worker on the interpreter of its first argument, prints its process id, and waits to be killed. */
import { setTimeout as sleep } from "node:timers/promises";
import { createTorchEngine } from "../../src/engines/torch/engine.ts";

const [python = ""] = process.argv.slice(2);
const engine = await createTorchEngine({ python, device: "cpu", threads: 1 });
process.stdout.write(`${engine.device.pid}\n`);
await sleep(600_000);
