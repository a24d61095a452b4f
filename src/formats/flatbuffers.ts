/** Reads FlatBuffers (the binary layout of TensorFlow Lite files) as far as reading models takes: tables, vectors, scalars, by field number. */

/** A table: fields that were not written have no place. Field numbers follow the order in the schema, from 0. */
export interface FlatTable {
  int8(field: number, absent: number): number;
  int32(field: number, absent: number): number;
  table(field: number): FlatTable | undefined;
  tables(field: number): readonly FlatTable[];
  int32s(field: number): readonly number[];
  bytes(field: number): Uint8Array;
  text(field: number): string;
}

/**
 * The root table of a buffer.
 *
 * @throws RangeError when an offset leads out of the buffer
 */
export function readFlatRoot(bytes: Uint8Array): FlatTable {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return tableAt(view, view.getUint32(0, true));
}

function tableAt(view: DataView, at: number): FlatTable {
  const vtable = at - view.getInt32(at, true);
  const vtableBytes = view.getUint16(vtable, true);
  /** Where a field's value lies; 0 where it was not written. */
  const place = (field: number): number => {
    const slot = 4 + 2 * field;
    const offset = slot + 2 <= vtableBytes ? view.getUint16(vtable + slot, true) : 0;
    return offset === 0 ? 0 : at + offset;
  };
  const follow = (field: number): number => {
    const from = place(field);
    return from === 0 ? 0 : from + view.getUint32(from, true);
  };
  const vector = (field: number): { readonly start: number; readonly count: number } => {
    const from = follow(field);
    return from === 0 ? { start: 0, count: 0 } : { start: from + 4, count: view.getUint32(from, true) };
  };
  const bytes = (field: number): Uint8Array => {
    const { start, count } = vector(field);
    if (start + count > view.byteLength) throw new RangeError(`field ${field} is longer than the file`);
    return new Uint8Array(view.buffer, view.byteOffset + start, count);
  };
  return {
    int8: (field, absent) => (place(field) === 0 ? absent : view.getInt8(place(field))),
    int32: (field, absent) => (place(field) === 0 ? absent : view.getInt32(place(field), true)),
    table: (field) => (place(field) === 0 ? undefined : tableAt(view, follow(field))),
    tables: (field) => {
      const { start, count } = vector(field);
      return Array.from({ length: count }, (_, i) => {
        const from = start + 4 * i;
        return tableAt(view, from + view.getUint32(from, true));
      });
    },
    int32s: (field) => {
      const { start, count } = vector(field);
      return Array.from({ length: count }, (_, i) => view.getInt32(start + 4 * i, true));
    },
    bytes,
    text: (field) => new TextDecoder().decode(bytes(field)),
  };
}
