/** Text in PNG files (PNG specification, third edition, 11.3.3): how programs that draw tell others what they drew. */
import { crc32 } from "node:zlib";

const SIGNATURE_BYTES = 8;
/** Length, type and checksum around a chunk's data. */
const FRAME_BYTES = 12;

/**
 * A PNG with texts put in after its header, where readers find them before the pixels. ASCII goes into a tEXt chunk, which every
 * program reads, and anything else into iTXt: tEXt is Latin-1 by the specification, but libvips among others takes it for UTF-8.
 *
 * @param texts by keyword: 1 to 79 printable Latin-1 characters, such as "parameters"
 * @throws Error for bytes that are no PNG, or a keyword that the format does not allow
 */
export function addPngTexts(png: Uint8Array, texts: Readonly<Record<string, string>>): Uint8Array {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  if (bytes.toString("latin1", 1, 4) !== "PNG" || bytes.toString("latin1", 12, 16) !== "IHDR") {
    throw new Error("addPngTexts: these bytes are no PNG file");
  }
  const headerEnd = SIGNATURE_BYTES + FRAME_BYTES + bytes.readUInt32BE(SIGNATURE_BYTES);
  const chunks = Object.entries(texts).map(([keyword, text]) => makeTextChunk(keyword, text));
  return Buffer.concat([bytes.subarray(0, headerEnd), ...chunks, bytes.subarray(headerEnd)]);
}

function makeTextChunk(keyword: string, given: string): Buffer {
  if (!/^[!-~\u00a1-\u00ff](?:[ -~\u00a1-\u00ff]{0,77}[!-~\u00a1-\u00ff])?$/.test(keyword) || / {2}/.test(keyword)) {
    throw new Error(`addPngTexts: ${JSON.stringify(keyword)} cannot be a keyword`);
  }
  // NUL ends a field of the chunk, so none can be in a text.
  const text = given.replaceAll("\0", "\ufffd");
  const name = Buffer.from(`${keyword}\0`, "latin1");
  if (/^[\u0000-\u007f]*$/.test(text)) return makeChunk("tEXt", Buffer.concat([name, Buffer.from(text, "latin1")]));
  // Not compressed, method 0, no language, no translated keyword.
  return makeChunk("iTXt", Buffer.concat([name, Buffer.from([0, 0, 0, 0]), Buffer.from(text, "utf8")]));
}

function makeChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(FRAME_BYTES + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}
