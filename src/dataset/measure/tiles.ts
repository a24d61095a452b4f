/** The places of a picture with the most and the least detail, cut out at full size. Pure. */
import type { Pixels } from "../../formats/images.ts";
import type { Grid } from "./grid.ts";

/** A square of luma, row by row. */
export type Tile = Float32Array;

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
  const places: { x: number; y: number; detail: number }[] = [];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) places.push({ x: x * TILE_PX, y: y * TILE_PX, detail: detailAt(grid, x, y) });
  }
  places.sort((a, b) => b.detail - a.detail);
  const cut = (place: { x: number; y: number }) => cutLuma(pixels, place.x, place.y);
  return { busy: places.slice(0, busy).map(cut), calm: places.slice(busy).slice(-calm).map(cut) };
}

/** Mean squared difference of neighbouring cells of the small copy within a tile. */
function detailAt({ luma, width, height, cellPx }: Grid, tileX: number, tileY: number): number {
  const x0 = Math.floor((tileX * TILE_PX) / cellPx);
  const y0 = Math.floor((tileY * TILE_PX) / cellPx);
  const x1 = Math.min(width - 1, Math.max(x0 + 1, Math.floor(((tileX + 1) * TILE_PX) / cellPx)));
  const y1 = Math.min(height - 1, Math.max(y0 + 1, Math.floor(((tileY + 1) * TILE_PX) / cellPx)));
  let [sum, count] = [0, 0];
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
  const tile = new Float32Array(TILE_PX * TILE_PX);
  for (let y = 0, to = 0; y < TILE_PX; y++) {
    let at = ((top + y) * widthPx + left) * channels;
    for (let x = 0; x < TILE_PX; x++, to++, at += channels) {
      tile[to] = 0.299 * (data[at] ?? 0) + 0.587 * (data[at + 1] ?? 0) + 0.114 * (data[at + 2] ?? 0);
    }
  }
  return tile;
}
