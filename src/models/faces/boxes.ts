/** From what the face network says to boxes in the picture. Pure. */

/** One face: its box, from the brow to the chin, in shares of the picture's width and height. */
export interface Face {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /** How sure the network is, 0..1. */
  readonly score: number;
}

/** Where the picture lies in the square that the network looked at, in pixels of the square. */
export interface Inset {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Overlap (intersection over union) above which two boxes are one face: MediaPipe's own. */
const SAME_FACE = 0.3;

/**
 * Faces that the network is at least so sure of, surest first. It says for each of a grid of places the box around the nearest face
 * (centre and size, in pixels from the place; twelve more numbers are landmarks) and the logit of its being one.
 *
 * @param boxes [N, 16] for a grid of N places, row by row
 * @param scores [N]
 */
export function findBoxes(
  { boxes, scores }: { readonly boxes: Float32Array; readonly scores: Float32Array },
  { inset, sidePx, surest }: { readonly inset: Inset; readonly sidePx: number; readonly surest: number },
): readonly Face[] {
  const cells = Math.round(Math.sqrt(scores.length));
  const found: Face[] = [];
  for (const [place, logit] of scores.entries()) {
    const score = 1 / (1 + Math.exp(-logit));
    if (score < surest) continue;
    const [dx = 0, dy = 0, wide = 0, tall = 0] = boxes.subarray(16 * place, 16 * place + 4);
    const x = dx + (((place % cells) + 0.5) * sidePx) / cells;
    const y = dy + ((Math.floor(place / cells) + 0.5) * sidePx) / cells;
    found.push({
      left: (x - wide / 2 - inset.left) / inset.width,
      top: (y - tall / 2 - inset.top) / inset.height,
      width: wide / inset.width,
      height: tall / inset.height,
      score,
    });
  }
  return keepSurest(found);
}

/** Of boxes that overlap, the surest. */
export function keepSurest(faces: readonly Face[]): readonly Face[] {
  const kept: Face[] = [];
  for (const face of [...faces].sort((a, b) => b.score - a.score)) {
    if (kept.every((other) => overlap(face, other) < SAME_FACE)) kept.push(face);
  }
  return kept;
}

/** Intersection over union, 0..1. */
function overlap(a: Face, b: Face): number {
  const wide = Math.min(a.left + a.width, b.left + b.width) - Math.max(a.left, b.left);
  const tall = Math.min(a.top + a.height, b.top + b.height) - Math.max(a.top, b.top);
  const both = Math.max(0, wide) * Math.max(0, tall);
  return both / Math.max(1e-9, a.width * a.height + b.width * b.height - both);
}
