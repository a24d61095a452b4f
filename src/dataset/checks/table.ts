/** Every check, in the order in which reports show them. A new one is a row in one of these lists. */
import { captionChecks } from "./captions.ts";
import type { Check } from "./check.ts";
import { copyChecks } from "./copies.ts";
import { faceChecks } from "./faces.ts";
import { pixelChecks } from "./pixels.ts";
import { resolutionChecks } from "./resolution.ts";
import { setChecks } from "./set.ts";
import { wordChecks } from "./words.ts";

export const checks: readonly Check[] = [
  ...resolutionChecks,
  ...pixelChecks,
  ...copyChecks,
  ...faceChecks,
  ...captionChecks,
  ...wordChecks,
  ...setChecks,
];
