/** The places of a picture with the most and the least detail, cut out at full size. Pure. */
import type { Pixels } from "../../formats/images.ts";
import type { Grid } from "./grid.ts";

/** A square of luma, row by row. */
export type Tile = Float64Array;

/** Pixels along a side: room for lags of 32, small enough to be filled by one thing. */
export const TILE_PX = 64;

/** The `busy` most detailed places and the `calm` flattest ones, which show what noise there is. */
export interface Tiles {
  readonly busy: readonly Tile[];
  readonly calm: readonly Tile[];
}

/** Cuts tiles that do not overlap; fewer where the picture is small, none under 64 px a side. */
export function cutTiles(pixels: Pixels, grid: Grid, busy: number, calm: number): Tiles {
  const columns = Math.floor(pixels.widthPx / TILE_PX);
  const rows = Math.floor(pixels.heightPx / TILE_PX);
  const details = new Float64Array(columns * rows);
  for (let place = 0; place < details.length; place++)
    details[place] = detailAt(grid, place % columns, Math.floor(place / columns));
  const cut = (place: number): Tile => cutLuma(pixels, (place % columns) * TILE_PX, Math.floor(place / columns) * TILE_PX);
  const busiest = takeLargest(details, busy);
  const calmest = takeLargest(
    details.map((detail) => -detail),
    calm,
    busiest,
  );
  return { busy: busiest.map(cut), calm: calmest.map(cut) };
}

/** Places of the largest values but for some. One after the other: sorting all would take longer than cutting. */
function takeLargest(values: Float64Array, count: number, without: readonly number[] = []): number[] {
  const left = values.slice();
  for (const place of without) left[place] = -Infinity;
  const taken: number[] = [];
  while (taken.length < count) {
    let best = -1;
    let most = -Infinity;
    for (let place = 0; place < left.length; place++) {
      if ((left[place] ?? 0) <= most) continue;
      best = place;
      most = left[place] ?? 0;
    }
    if (best < 0) break;
    taken.push(best);
    left[best] = -Infinity;
  }
  return taken;
}

/** Mean squared difference of neighbouring cells of the small copy within a tile. */
function detailAt({ luma, width, height, cellPx }: Grid, tileX: number, tileY: number): number {
  const x0 = Math.floor((tileX * TILE_PX) / cellPx);
  const y0 = Math.floor((tileY * TILE_PX) / cellPx);
  const x1 = Math.min(width - 1, Math.max(x0 + 1, Math.floor(((tileX + 1) * TILE_PX) / cellPx)));
  const y1 = Math.min(height - 1, Math.max(y0 + 1, Math.floor(((tileY + 1) * TILE_PX) / cellPx)));
  let sum = 0;
  let count = 0;
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const here = luma[y * width + x] ?? 0;
      const right = (luma[y * width + x + 1] ?? 0) - here;
      const below = (luma[(y + 1) * width + x] ?? 0) - here;
      sum += right * right + below * below;
      count++;
    }
  }
  return count === 0 ? 0 : sum / count;
}

function cutLuma({ data, widthPx, channels }: Pixels, left: number, top: number): Tile {
  const tile = new Float64Array(TILE_PX * TILE_PX);
  for (let y = 0; y < TILE_PX; y++) cutRow(data, ((top + y) * widthPx + left) * channels, channels, tile, y * TILE_PX);
  return tile;
}

function cutRow(data: Uint8Array, from: number, channels: number, tile: Tile, to: number): void {
  for (let x = 0, at = from; x < TILE_PX; x++, at += channels) {
    tile[to + x] = 0.299 * (data[at] ?? 0) + 0.587 * (data[at + 1] ?? 0) + 0.114 * (data[at + 2] ?? 0);
  }
}
