/** Asks a file's keys and shapes for what a configuration would say. */
import { UserError } from "../errors.ts";
import type { FileTensors } from "./locate-weights.ts";

/** Keys are given without the component's prefix. */
export interface ShapeReader {
  has(key: string): boolean;
  /** Whether any key begins so. */
  hasUnder(start: string): boolean;
  /** Size of one axis of a tensor. @throws UserError naming the key when the tensor or the axis is not there */
  size(key: string, axis: number): number;
  /** How many of keyOf(0), keyOf(1), ... there are before the first that is missing. */
  count(keyOf: (index: number) => string): number;
}

/** @param where the file, for messages */
export function createShapeReader(tensors: FileTensors, prefix: string, where: string): ShapeReader {
  const has = (key: string): boolean => tensors.has(prefix + key);
  return {
    has,
    hasUnder: (start) => [...tensors.keys()].some((key) => key.startsWith(prefix + start)),
    size(key, axis) {
      const shape = tensors.get(prefix + key)?.shape;
      const size = shape?.[axis];
      if (size !== undefined) return size;
      const found = shape ? `has ${prefix}${key} as [${shape.join(", ")}], with too few axes` : `lacks ${prefix}${key}`;
      throw new UserError(`${where} ${found}.`, { fix: "Download the model again: without this tensor it cannot be used." });
    },
    count(keyOf) {
      let count = 0;
      while (has(keyOf(count))) count++;
      return count;
    },
  };
}
