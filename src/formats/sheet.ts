/** Lays labelled pictures out in a grid, such as a preview sheet: white paper, dark sans-serif text, equal tiles. */
import sharp from "sharp";
import { MAX_PIXELS } from "./images.ts";
import type { Pixels } from "./images.ts";

/** A grid of pictures of one size. */
export interface Sheet {
  readonly title?: string | undefined;
  /** One label above each column; "" for none. */
  readonly columns: readonly string[];
  /** One label left of each row; "" for none. */
  readonly rows: readonly string[];
  /** `rows.length` lists of `columns.length` pictures, all of one size; undefined leaves the place empty. */
  readonly tiles: readonly (readonly (Pixels | undefined)[])[];
  /** Small print below. */
  readonly note?: string | undefined;
}

/**
 * Draws a sheet. Small tiles are enlarged (whole multiples) so that labels have room, and large sheets are kept within
 * 8,192 px a side. Labels wrap, and end in an ellipsis where they do not fit.
 *
 * @example await writePng("sheet.png", await renderSheet({ columns: ["without", "with"], rows: ["a fox"], tiles: [[a, b]] }));
 */
export async function renderSheet(sheet: Sheet): Promise<Pixels> {
  const layout = layOut(sheet);
  const { widthPx: width, heightPx: height } = layout;
  const tiles = await Promise.all(
    layout.places.map(async ({ pixels, left, top }) => ({ input: await resizeTile(pixels, layout), left, top })),
  );
  const { data } = await sharp({ create: { width, height, channels: 3, background: "#ffffff" }, limitInputPixels: MAX_PIXELS })
    .composite([...tiles, { input: Buffer.from(drawText(sheet, layout)), left: 0, top: 0 }])
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { widthPx: width, heightPx: height, channels: 3, data };
}

interface Layout {
  readonly widthPx: number;
  readonly heightPx: number;
  readonly tileWidthPx: number;
  readonly tileHeightPx: number;
  readonly fontPx: number;
  readonly marginPx: number;
  /** Left edges of the columns and top edges of the rows. */
  readonly columnX: readonly number[];
  readonly rowY: readonly number[];
  readonly columnLines: readonly (readonly string[])[];
  readonly rowLines: readonly (readonly string[])[];
  readonly titleLines: readonly string[];
  readonly noteLines: readonly string[];
  readonly places: readonly { readonly pixels: Pixels; readonly left: number; readonly top: number }[];
}

/** The smallest width at which a two-word label stands above a tile without breaking. */
const MIN_TILE_PX = 192;
/** Viewers and browsers show pictures of this side without trouble. */
const MAX_SHEET_PX = 8192;
const LINE = 1.3;
const TITLE = 1.35;
const NOTE = 0.85;

function layOut(sheet: Sheet): Layout {
  const { tileWidthPx, tileHeightPx } = tileSize(sheet);
  const fontPx = Math.min(28, Math.max(13, Math.round(Math.min(tileWidthPx, tileHeightPx) / 15)));
  const marginPx = Math.round(fontPx * 1.8);
  const gapPx = Math.round(fontPx * 0.7);
  const hasRowLabels = sheet.rows.some((label) => label !== "");
  // As wide as the longest label, up to a limit where they wrap.
  const widestPx = Math.ceil(Math.max(...sheet.rows.map(measure)) * fontPx);
  const labelPx = hasRowLabels ? Math.round(Math.min(widestPx, fontPx * 16, Math.max(fontPx * 8, tileWidthPx * 0.8))) : 0;

  const left = marginPx + (hasRowLabels ? labelPx + gapPx * 2 : 0);
  const columnX = sheet.columns.map((_, i) => left + i * (tileWidthPx + gapPx));
  const widthPx = left + sheet.columns.length * (tileWidthPx + gapPx) - gapPx + marginPx;
  const textWidth = (widthPx - 2 * marginPx) / fontPx;

  const titleLines = wrap(sheet.title ?? "", textWidth / TITLE, 2);
  const noteLines = wrap(sheet.note ?? "", textWidth / NOTE, 6);
  const columnLines = sheet.columns.map((label) => wrap(label, tileWidthPx / fontPx, 3));
  const rowLines = sheet.rows.map((label) => wrap(label, labelPx / fontPx, Math.floor(tileHeightPx / (fontPx * LINE))));

  const titlePx = titleLines.length > 0 ? Math.round(titleLines.length * fontPx * TITLE * LINE + fontPx * 0.8) : 0;
  const headPx = Math.round(Math.max(0, ...columnLines.map((lines) => lines.length)) * fontPx * LINE + fontPx * 0.4);
  const top = marginPx + titlePx + headPx;
  const rowY = sheet.rows.map((_, i) => top + i * (tileHeightPx + gapPx));
  const notePx = noteLines.length > 0 ? Math.round(noteLines.length * fontPx * NOTE * LINE + fontPx) : 0;
  const heightPx = top + sheet.rows.length * (tileHeightPx + gapPx) - gapPx + notePx + marginPx;

  const places = sheet.tiles.flatMap((row, y) =>
    row.flatMap((pixels, x) => (pixels ? [{ pixels, left: columnX[x] ?? 0, top: rowY[y] ?? 0 }] : [])),
  );
  const lines = { columnLines, rowLines, titleLines, noteLines };
  return { widthPx, heightPx, tileWidthPx, tileHeightPx, fontPx, marginPx, columnX, rowY, ...lines, places };
}

/** The size at which tiles are shown, having checked that the grid is one. */
function tileSize(sheet: Sheet): { tileWidthPx: number; tileHeightPx: number } {
  const { rows, columns, tiles } = sheet;
  const all = tiles.flat().filter((tile) => tile !== undefined);
  const first = all[0];
  if (!first || tiles.length !== rows.length || tiles.some((row) => row.length !== columns.length)) {
    throw new Error(
      `renderSheet: ${rows.length} x ${columns.length} labels do not fit rows of ${tiles.map((row) => row.length).join(", ")}`,
    );
  }
  const odd = all.find((tile) => tile.widthPx !== first.widthPx || tile.heightPx !== first.heightPx);
  if (odd) {
    throw new Error(`renderSheet: tiles of ${first.widthPx} x ${first.heightPx} and ${odd.widthPx} x ${odd.heightPx} px`);
  }
  const enlarge = Math.max(1, Math.ceil(MIN_TILE_PX / Math.min(first.widthPx, first.heightPx)));
  // 85 %: room for labels, gaps and margins.
  const room = MAX_SHEET_PX * 0.85;
  const scale = Math.min(enlarge, room / (first.widthPx * columns.length), room / (first.heightPx * rows.length));
  return {
    tileWidthPx: Math.max(1, Math.round(first.widthPx * scale)),
    tileHeightPx: Math.max(1, Math.round(first.heightPx * scale)),
  };
}

async function resizeTile(pixels: Pixels, { tileWidthPx, tileHeightPx }: Layout): Promise<Buffer> {
  const { widthPx: width, heightPx: height, channels, data } = pixels;
  return sharp(data, { raw: { width, height, channels } })
    .resize(tileWidthPx, tileHeightPx, { fit: "fill", kernel: "lanczos3" })
    .png({ compressionLevel: 0 })
    .toBuffer();
}

const FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', Arial, sans-serif";

/** Everything but the pictures, as an SVG of the sheet's size. */
function drawText(sheet: Sheet, layout: Layout): string {
  const { widthPx, heightPx, tileWidthPx, tileHeightPx, fontPx, marginPx, columnX, rowY } = layout;
  const titleBase = marginPx + fontPx * TITLE;
  const title = drawLines(layout.titleLines, marginPx, titleBase, fontPx * TITLE, "start", "font-weight='600'");
  const columns = layout.columnLines.map((lines, i) => {
    // Labels of several lengths stand on one line just above the tiles.
    const base = (rowY[0] ?? 0) - fontPx * 0.7 - (lines.length - 1) * fontPx * LINE;
    return drawLines(lines, (columnX[i] ?? 0) + tileWidthPx / 2, base, fontPx, "middle", "font-weight='500'");
  });
  const rows = layout.rowLines.map((lines, i) => {
    const middle = (rowY[i] ?? 0) + tileHeightPx / 2;
    const base = middle - ((lines.length - 1) * fontPx * LINE) / 2 + fontPx * 0.35;
    return drawLines(lines, (columnX[0] ?? 0) - fontPx * 1.2, base, fontPx, "end", "");
  });
  const noteBase = (rowY.at(-1) ?? 0) + tileHeightPx + fontPx * 1.9;
  const note = drawLines(layout.noteLines, marginPx, noteBase, fontPx * NOTE, "start", "fill='#59636e'");
  // A hairline, so that pictures with a white ground have an edge; empty places get it too.
  const frames = sheet.tiles.flatMap((row, y) =>
    row.map((_, x) => {
      const place = `x='${(columnX[x] ?? 0) - 0.5}' y='${(rowY[y] ?? 0) - 0.5}'`;
      return `<rect ${place} width='${tileWidthPx + 1}' height='${tileHeightPx + 1}' fill='none' stroke='#d1d9e0'/>`;
    }),
  );
  const head = `<svg xmlns='http://www.w3.org/2000/svg' width='${widthPx}' height='${heightPx}'>`;
  return `${head}<g font-family="${FONTS}" fill='#1f2328'>${[title, ...columns, ...rows, note].join("")}</g>${frames.join("")}</svg>`;
}

function drawLines(lines: readonly string[], x: number, base: number, sizePx: number, anchor: string, style: string): string {
  return lines
    .map((line, i) => {
      const y = base + i * sizePx * LINE;
      return `<text x='${x}' y='${y}' font-size='${sizePx}' text-anchor='${anchor}' ${style}>${escapeXml(line)}</text>`;
    })
    .join("");
}

/** Marks of XML escaped, and what XML cannot hold (control characters, halves of surrogate pairs) replaced. */
function escapeXml(text: string): string {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&quot;" };
  return text
    .replace(/[&<>'"]/g, (mark) => entities[mark] ?? mark)
    .replace(/[\u0000-\u001f\ufffe\uffff]/g, " ")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
}

/** Breaks a label into at most `maxLines` lines of `widthEm` (widths in units of the font size). */
export function wrap(label: string, widthEm: number, maxLines: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of label.split(/\s+/).flatMap((part) => breakWord(part, widthEm))) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (measure(longer) <= widthEm) line = longer;
    else {
      if (line !== "") lines.push(line);
      line = word;
    }
  }
  if (line !== "") lines.push(line);
  if (lines.length <= maxLines) return lines;
  const last = [...(lines[maxLines - 1] ?? "")];
  while (last.length > 0 && measure(`${last.join("")}…`) > widthEm) last.pop();
  return [...lines.slice(0, maxLines - 1), `${last.join("").trimEnd()}…`];
}

/** A word wider than the line, in pieces that fit. */
function breakWord(word: string, widthEm: number): string[] {
  const pieces: string[] = [];
  let piece = "";
  for (const letter of word) {
    if (piece !== "" && measure(piece + letter) > widthEm) {
      pieces.push(piece);
      piece = "";
    }
    piece += letter;
  }
  return piece === "" ? pieces : [...pieces, piece];
}

/** The width of a text in em: an upper estimate after DejaVu Sans, the widest of the fonts that may be there. */
function measure(text: string): number {
  let width = 0;
  for (const letter of text) {
    if (/[ilj.,:;'|!()[\]ftr\s/\\-]/.test(letter)) width += 0.41;
    else if (/[mwMW@%]/.test(letter)) width += 1;
    else if (/[A-Z]/.test(letter)) width += 0.75;
    else if ((letter.codePointAt(0) ?? 0) >= 0x2e80) width += 1.1;
    else width += 0.64;
  }
  return width;
}
