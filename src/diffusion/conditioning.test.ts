import { expect, it } from "vitest";
import { sdxlTimeIds } from "./conditioning.ts";

it("SDXL's time ids are original height and width, crop top and left, target height and width", () => {
  const ids = sdxlTimeIds({ originalHeightPx: 1200, originalWidthPx: 1600, cropTopPx: 4, cropLeftPx: 8, targetHeightPx: 896, targetWidthPx: 1152 }); // prettier-ignore
  expect([...ids]).toEqual([1200, 1600, 4, 8, 896, 1152]);
});
