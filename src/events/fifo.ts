// A queue whose front is taken in constant time; arrays move all that is left.

/** Emptied places at the front before the rest is moved up. */
const placesBeforeCompaction = 1024;

export class Fifo<Item> {
  #items: (Item | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** Puts one back to the front. */
  unshift(item: Item): void {
    if (this.#head > 0) {
      this.#head -= 1;
      this.#items[this.#head] = item;
    } else {
      this.#items.unshift(item);
    }
  }

  shift(): Item | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head >= placesBeforeCompaction && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Removes one; true when it was there. */
  remove(item: Item): boolean {
    const place = this.#items.indexOf(item, this.#head);
    if (place < 0) return false;
    this.#items.splice(place, 1);
    return true;
  }
}
