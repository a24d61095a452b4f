/** Starts the thread from its TypeScript source, in a clone of the repository: tsx does not reach threads by itself. */
import { register } from "tsx/esm/api";

register();
await import("./worker.ts");
