/**
 * Bytes somewhere in memory. Those of a record are a view into the call: they are there until the handler returns, and
 * nothing is copied. Those made of a string or an array are its own, or the array's.
 */
export class Bytes {
  /** Where they are. */
  ptr: usize = 0;
  /** How many there are. */
  length: i32 = 0;
  /** What keeps the memory, when it is not the call. */
  private owner: ArrayBuffer | null = null;

  /** The text in UTF-8. */
  static fromString(text: string): Bytes {
    return Bytes.fromBuffer(String.UTF8.encode(text));
  }

  /** What the array has now; it must not be resized while the bytes are used. */
  static fromArray(array: Uint8Array): Bytes {
    const b = new Bytes();
    b.owner = array.buffer;
    return b.set(array.dataStart, array.length);
  }

  /** What the buffer has. */
  static fromBuffer(buffer: ArrayBuffer): Bytes {
    const b = new Bytes();
    b.owner = buffer;
    return b.set(changetype<usize>(buffer), buffer.byteLength);
  }

  /** Has these be the bytes at ptr. */
  set(ptr: usize, length: i32): Bytes {
    this.ptr = ptr;
    this.length = length;
    return this;
  }

  /** The i-th byte. */
  @operator("[]") at(i: i32): u8 {
    if (<u32>i >= <u32>this.length) throw new RangeError("byte " + i.toString() + " of " + this.length.toString());
    return load<u8>(this.ptr + i);
  }

  /** The bytes from begin to end, without that at end, as a view of these. */
  slice(begin: i32, end: i32 = i32.MAX_VALUE): Bytes {
    end = min(end, this.length);
    begin = min(max(begin, 0), end);
    const b = new Bytes();
    b.owner = this.owner;
    return b.set(this.ptr + begin, end - begin);
  }

  /** Where the byte is for the first time, from an index on; -1 when it is not there. */
  indexOf(byte: u8, from: i32 = 0): i32 {
    for (let i = max(from, 0); i < this.length; i++) {
      if (load<u8>(this.ptr + i) == byte) return i;
    }
    return -1;
  }

  /** Whether the bytes are the same. */
  @operator("==") equals(other: Bytes): bool {
    return this.length == other.length && memory.compare(this.ptr, other.ptr, this.length) == 0;
  }

  /** Whether the bytes are the text's in UTF-8. */
  is(text: string): bool {
    // Text that is all ASCII, as most is, is compared without being encoded.
    if (text.length > this.length) return false;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c >= 0x80) return this.toString() == text;
      if (c != load<u8>(this.ptr + i)) return false;
    }
    return text.length == this.length;
  }

  /** The text that the bytes are in UTF-8. */
  toString(): string {
    return String.UTF8.decodeUnsafe(this.ptr, this.length);
  }

  /** A copy. */
  toArray(): Uint8Array {
    const a = new Uint8Array(this.length);
    memory.copy(a.dataStart, this.ptr, this.length);
    return a;
  }
}
