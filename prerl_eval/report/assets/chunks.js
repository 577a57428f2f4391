"use strict";
// The traces of a report as they stand in its page: the format is payload.py's, told there.

const ALPHABET = Array.from({ length: 94 }, (_, place) => String.fromCharCode(33 + place))
  .filter((sign) => !"\"&'-/<>\\`".includes(sign));
const DIGITS = new Uint8Array(128);
ALPHABET.forEach((sign, place) => { DIGITS[sign.charCodeAt(0)] = place; });

// What opened problems may hold in memory; the one on show is kept whatever its size.
const MOST_HELD = 48e6;

function fromBase85(text) {
  const missing = (5 - (text.length % 5)) % 5;
  const signs = new Uint8Array(text.length + missing).fill(126);
  new TextEncoder().encodeInto(text, signs);
  const bytes = new DataView(new ArrayBuffer((signs.length / 5) * 4));
  for (let from = 0, to = 0; from < signs.length; from += 5, to += 4) {
    const high = ((DIGITS[signs[from]] * 85 + DIGITS[signs[from + 1]]) * 85 + DIGITS[signs[from + 2]]) * 85;
    // Beyond 2^32 only as a float: setUint32 takes the remainder.
    bytes.setUint32(to, (high + DIGITS[signs[from + 3]]) * 85 + DIGITS[signs[from + 4]]);
  }
  return new Uint8Array(bytes.buffer, 0, bytes.byteLength - missing);
}

async function inflate(packed) {
  const opened = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(opened).arrayBuffer());
}

/** Header and texts of chunk `key`; text(T) decodes one text alone. */
async function openChunk(key) {
  const raw = await inflate(fromBase85(Chunks.elements.get(key).textContent));
  const end = raw.indexOf(10);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const header = JSON.parse(decoder.decode(raw.subarray(0, end)));
  const starts = [end + 1];
  header.texts.forEach((bytes, place) => starts.push(starts[place] + bytes));
  return {
    runs: header.runs,
    bytes: raw.length,
    text: (place) => decoder.decode(raw.subarray(starts[place], starts[place + 1])),
  };
}

/** Chunks by key; those opened last are kept. */
const Chunks = {
  elements: new Map(),
  held: new Map(),

  find() {
    for (const element of document.querySelectorAll("script.chunk")) {
      this.elements.set(element.dataset.key, element);
    }
  },

  /** A promise of the chunk. once: not kept, as a search through all of them has no use for it twice. */
  get(key, once = false) {
    const known = this.held.get(key);
    if (known) {
      this.held.delete(key);
      this.held.set(key, known);
      return known.promise;
    }
    const promise = openChunk(key);
    if (once) return promise;
    const entry = { promise, bytes: 0 };
    this.held.set(key, entry);
    promise.then((chunk) => {
      entry.bytes = chunk.bytes;
      let total = 0;
      for (const own of this.held.values()) total += own.bytes;
      for (const [old, own] of this.held) {
        if (total <= MOST_HELD || old === key) break;
        total -= own.bytes;
        this.held.delete(old);
      }
    });
    return promise;
  },
};
