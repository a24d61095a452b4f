/**
 * Holds the measurements of a set while it is inspected. Thumbnails and corners, 14 kB of the 16 that a picture has, lie in a file that
 * ends with the inspection: comparing looks at a few at a time.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CORNERS_LENGTH } from "./measure/corners.ts";
import { THUMB_SIDE } from "./measure/likeness.ts";
import type { PictureMeasurement } from "./measure/picture.ts";

export interface MeasurementStore {
  /** The same measurement, but its thumbnail and corners are read each time they are asked for, until `close`. */
  keep(measurement: PictureMeasurement): PictureMeasurement;
  close(): void;
}

/** Makes its file with the first measurement. Where that cannot be written, what follows stays in memory. */
export function openMeasurementStore(): MeasurementStore {
  let file: StoreFile | undefined;
  let isFull = false;
  let count = 0;
  return {
    keep(measurement) {
      if (isFull) return measurement;
      try {
        file ??= createFile();
        append(file, count, measurement);
      } catch {
        isFull = true;
        return measurement;
      }
      return stored(measurement, file, count++);
    },
    close() {
      if (!file) return;
      file.isOpen = false;
      closeSync(file.descriptor);
      rmSync(file.folder, { recursive: true, force: true });
    },
  };
}

interface StoreFile {
  readonly folder: string;
  readonly descriptor: number;
  isOpen: boolean;
}

function createFile(): StoreFile {
  const folder = mkdtempSync(join(tmpdir(), "gesso-inspect-"));
  const descriptor = openSync(join(folder, "measurements"), "w+");
  try {
    // Where the system lets an open file be removed, nothing stays behind if this process is killed.
    rmSync(folder, { recursive: true });
  } catch {
    // Elsewhere it is removed at the end.
  }
  return { folder, descriptor, isOpen: true };
}

const THUMB_LENGTH = THUMB_SIDE * THUMB_SIDE;
const RECORD = THUMB_LENGTH + CORNERS_LENGTH;

function append({ descriptor }: StoreFile, place: number, { thumb, corners }: PictureMeasurement): void {
  const record = new Uint8Array(RECORD);
  record.set(thumb);
  record.set(new Uint8Array(corners.buffer, corners.byteOffset, CORNERS_LENGTH), THUMB_LENGTH);
  const written = writeSync(descriptor, record, 0, RECORD, place * RECORD);
  if (written < RECORD) throw new Error(`measurement store: ${written} of ${RECORD} bytes were written`);
}

function stored(measurement: PictureMeasurement, file: StoreFile, place: number): PictureMeasurement {
  const onDisk: Pick<PictureMeasurement, "thumb" | "corners"> = {
    get thumb() {
      return read(file, place * RECORD, THUMB_LENGTH);
    },
    get corners() {
      return new Int8Array(read(file, place * RECORD + THUMB_LENGTH, CORNERS_LENGTH).buffer);
    },
  };
  return Object.defineProperties({ ...measurement }, Object.getOwnPropertyDescriptors(onDisk));
}

function read({ descriptor, isOpen }: StoreFile, at: number, length: number): Uint8Array<ArrayBuffer> {
  // The number may be another file's by now.
  if (!isOpen) throw new Error("measurement store: read after the inspection has ended");
  const bytes = new Uint8Array(length);
  const count = readSync(descriptor, bytes, 0, length, at);
  if (count < length) throw new Error(`measurement store: ${count} of ${length} bytes could be read at ${at}`);
  return bytes;
}
