/** A process that measures the CPU engine, and ends. */
import { answerParent } from "../../processes.ts";
import { type MeasuredEngine, measureEngine } from "../measure-engine.ts";
import { createOrtEngine } from "./engine.ts";

answerParent<undefined, MeasuredEngine>(async () => {
  const engine = await createOrtEngine();
  try {
    return await measureEngine(engine);
  } finally {
    await engine.dispose();
  }
});
