/** Gives back what JavaScript no longer needs, at moments when that is much. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/**
 * Runs V8's collector now. Making a graph leaves some 15 kB of garbage for each of its nodes: a hundred megabytes for `mini`, more for SDXL,
 * which V8 would keep for as long as it may grow, while the engine needs the memory. Takes some tens of milliseconds.
 */
export function collectGarbage(): void {
  if (!collect) {
    // The collector is only named in contexts that are made while the flag is set.
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
    setFlagsFromString("--no-expose-gc");
  }
  collect();
}
