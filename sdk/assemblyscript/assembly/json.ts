// Reads the members of a JSON object, in place.

import { Bytes } from "./bytes";

export enum Kind {
  text,
  number,
  literal,
  object,
  array,
}

const DEEPEST = 64;

export class Json {
  /** The member that next came to: its name, and its value as it is written; text without its quotes, escapes as they are. */
  name: Bytes = new Bytes();
  value: Bytes = new Bytes();
  kind: Kind = Kind.literal;
  /** Whether the text is no JSON object; known when next has been false. */
  bad: bool = false;

  private text: Bytes = new Bytes();
  private at: i32 = 0;
  private begun: bool = false;

  begin(text: Bytes): void {
    this.text = text;
    this.at = 0;
    this.begun = false;
    this.bad = false;
  }

  /** Goes on to the next member; false at the end, and where the text is no JSON object. */
  next(): bool {
    const first = !this.begun;
    this.begun = true;
    if (first && !this.take(0x7b)) return this.fails();
    if (this.take(0x7d)) {
      this.space();
      this.bad = this.at < this.text.length;
      return false;
    }
    if (!first && !this.take(0x2c)) return this.fails();
    if (!this.string(this.name) || !this.take(0x3a) || !this.any(0, this.value)) return this.fails();
    // A comma has another member behind it; without one the object ends.
    const behind = this.at;
    if (this.take(0x2c)) {
      this.space();
      if (this.peek() != 0x22) return this.fails();
    }
    this.at = behind;
    return true;
  }

  private fails(): bool {
    this.bad = true;
    return false;
  }

  private peek(): i32 {
    return this.at < this.text.length ? <i32>this.text[this.at] : -1;
  }

  private space(): void {
    for (let c = this.peek(); c == 0x20 || c == 9 || c == 10 || c == 13; c = this.peek()) this.at++;
  }

  /** Takes the character c, if it is next. */
  private take(c: i32): bool {
    this.space();
    if (this.peek() != c) return false;
    this.at++;
    return true;
  }

  private string(to: Bytes): bool {
    if (!this.take(0x22)) return false;
    const from = this.at;
    for (let c = this.peek(); c != 0x22; c = this.peek()) {
      if (c < 0x20) return false;
      this.at += c == 0x5c ? 2 : 1;
    }
    to.set(this.text.ptr + from, this.at - from);
    this.at++;
    return true;
  }

  private digits(): bool {
    const from = this.at;
    for (let c = this.peek(); c >= 0x30 && c <= 0x39; c = this.peek()) this.at++;
    return this.at > from;
  }

  private number(): bool {
    if (this.peek() == 0x2d) this.at++;
    const zero = this.peek() == 0x30;
    const first = this.at;
    if (!this.digits() || (zero && this.at > first + 1)) return false;
    if (this.peek() == 0x2e) {
      this.at++;
      if (!this.digits()) return false;
    }
    if ((this.peek() | 0x20) == 0x65) {
      this.at++;
      if (this.peek() == 0x2b || this.peek() == 0x2d) this.at++;
      return this.digits();
    }
    return true;
  }

  private word(word: string): bool {
    for (let i = 0; i < word.length; i++, this.at++) {
      if (this.peek() != word.charCodeAt(i)) return false;
    }
    return true;
  }

  private any(depth: i32, to: Bytes): bool {
    this.space();
    const from = this.at;
    let good = false;
    switch (this.peek()) {
      case 0x22:
        this.kind = Kind.text;
        return this.string(to);
      case 0x7b:
        good = this.inside(0x7d, depth);
        this.kind = Kind.object;
        break;
      case 0x5b:
        good = this.inside(0x5d, depth);
        this.kind = Kind.array;
        break;
      case 0x74:
        good = this.word("true");
        this.kind = Kind.literal;
        break;
      case 0x66:
        good = this.word("false");
        this.kind = Kind.literal;
        break;
      case 0x6e:
        good = this.word("null");
        this.kind = Kind.literal;
        break;
      default:
        good = this.number();
        this.kind = Kind.number;
    }
    to.set(this.text.ptr + from, this.at - from);
    return good;
  }

  /** Passes over an object or an array. */
  private inside(close: i32, depth: i32): bool {
    if (depth == DEEPEST) return false;
    this.at++;
    if (this.take(close)) return true;
    const unused = new Bytes();
    do {
      if (close == 0x7d && (!this.string(unused) || !this.take(0x3a))) return false;
      if (!this.any(depth + 1, unused)) return false;
    } while (this.take(0x2c));
    return this.take(close);
  }
}
