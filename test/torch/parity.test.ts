/** The networks on PyTorch, through our graphs, against the same stored numbers of diffusers and transformers as the CPU engine. */
import { useEngine } from "../parity/fixture.ts";
import { describeTorch, openTorch, python } from "./python.ts";

if (python === undefined) {
  describeTorch("parity", () => undefined);
} else {
  useEngine(() => openTorch());
  await import("../parity/unet.test.ts");
  await import("../parity/clip.test.ts");
  await import("../parity/vae.test.ts");
  await import("../parity/adamw.test.ts");
}
