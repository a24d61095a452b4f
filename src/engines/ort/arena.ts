/**
 * How ONNX Runtime's arena lays out memory: best fit with coalescing, in regions that double (`BFCArena` in its sources, with the defaults
 * that sessions have). Told what a run allocates and frees, it says how much memory that touches.
 */

const alignment = 256;
/** For every 256 bytes of a region, used or not, the arena keeps the number of the chunk that begins there. */
const handleBytes = 8;
const firstRegionBytes = 2 ** 20;
/** Regions double up to this size; a larger one is only made for what does not fit in it. */
const mostDoubled = 2 ** 30;
/** A chunk that is larger by this much is cut, even if it is less than twice as large as what is asked for. */
const mostWaste = 128 * 2 ** 20;

/** A piece of a region, in use or free. */
export interface Chunk {
  readonly region: Region;
  readonly start: number;
  bytes: number;
  /** Of what was asked for; 0 while it is free. */
  used: number;
  isFree: boolean;
  before: Chunk | undefined;
  behind: Chunk | undefined;
}

interface Region {
  readonly bytes: number;
  /** The system hands out addresses downwards: later regions lie before earlier ones. */
  readonly number: number;
  /** Up to where it was ever written: what lies behind has no memory yet. */
  touched: number;
}

export class Arena {
  readonly #regions: Region[] = [];
  readonly #free = new Set<Chunk>();
  #regionBytes = firstRegionBytes;
  #liveBytes = 0;
  #chunkBytes = 0;
  #peakLiveBytes = 0;

  /** In use now, as asked for. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** In use now, in whole chunks. */
  get chunkBytes(): number {
    return this.#chunkBytes;
  }

  /** The most that was in use at once, as asked for. */
  get peakLiveBytes(): number {
    return this.#peakLiveBytes;
  }

  /** All that was ever written, and the arena's own tables: the memory that it holds. */
  get heldBytes(): number {
    return this.#regions.reduce((sum, { bytes, touched }) => sum + touched + (handleBytes * bytes) / alignment, 0);
  }

  /** Room for `bytes`, all of which will be written. */
  allocate(bytes: number): Chunk {
    const wanted = Math.ceil(Math.max(1, bytes) / alignment) * alignment;
    const chunk = this.#bestFit(wanted) ?? this.#extend(wanted);
    this.#free.delete(chunk);
    if (chunk.bytes >= 2 * wanted || chunk.bytes - wanted >= mostWaste) this.#cut(chunk, wanted);
    chunk.isFree = false;
    chunk.used = bytes;
    chunk.region.touched = Math.max(chunk.region.touched, chunk.start + bytes);
    this.#liveBytes += bytes;
    this.#chunkBytes += chunk.bytes;
    this.#peakLiveBytes = Math.max(this.#peakLiveBytes, this.#liveBytes);
    return chunk;
  }

  free(chunk: Chunk): void {
    chunk.isFree = true;
    this.#liveBytes -= chunk.used;
    this.#chunkBytes -= chunk.bytes;
    chunk.used = 0;
    if (chunk.behind?.isFree) this.#merge(chunk, chunk.behind);
    const { before } = chunk;
    if (before?.isFree) {
      this.#free.delete(before);
      this.#merge(before, chunk);
      this.#free.add(before);
    } else this.#free.add(chunk);
  }

  /** The smallest that is large enough; among equals the one that comes first. */
  #bestFit(bytes: number): Chunk | undefined {
    let best: Chunk | undefined;
    for (const chunk of this.#free) {
      if (chunk.bytes < bytes) continue;
      if (!best || chunk.bytes < best.bytes || (chunk.bytes === best.bytes && isEarlier(chunk, best))) best = chunk;
    }
    return best;
  }

  #extend(bytes: number): Chunk {
    let isGrown = false;
    while (bytes > this.#regionBytes && this.#regionBytes < mostDoubled) {
      [this.#regionBytes, isGrown] = [2 * this.#regionBytes, true];
    }
    const region = { number: this.#regions.length, bytes: Math.max(bytes, this.#regionBytes), touched: 0 };
    this.#regions.push(region);
    const chunk: Chunk = { region, start: 0, bytes: region.bytes, used: 0, isFree: true, before: undefined, behind: undefined };
    if (!isGrown) this.#regionBytes = Math.min(mostDoubled, 2 * this.#regionBytes);
    return chunk;
  }

  #cut(chunk: Chunk, bytes: number): void {
    const rest: Chunk = {
      region: chunk.region,
      start: chunk.start + bytes,
      bytes: chunk.bytes - bytes,
      used: 0,
      isFree: true,
      before: chunk,
      behind: chunk.behind,
    };
    if (chunk.behind) chunk.behind.before = rest;
    chunk.behind = rest;
    chunk.bytes = bytes;
    this.#free.add(rest);
  }

  #merge(chunk: Chunk, behind: Chunk): void {
    this.#free.delete(behind);
    chunk.bytes += behind.bytes;
    chunk.behind = behind.behind;
    if (behind.behind) behind.behind.before = chunk;
  }
}

function isEarlier(a: Chunk, b: Chunk): boolean {
  return a.region.number > b.region.number || (a.region.number === b.region.number && a.start < b.start);
}
