// Model text as elements: only ever as text, never as markup. Signs that cannot be seen, or that turn
// the direction of what follows, are shown by their code; marks may overlap.

// Controls, soft hyphen, zero-width, bidi and format signs, fillers, tags, and halves of surrogate pairs.
const UNSEEN = new RegExp(
  "[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b-\\u200f" +
  "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}\\p{Surrogate}]",
    "gu");
// A joiner belongs to what it joins: emoji, and letters of scripts that need it.
const JOINED = new RegExp("^[\\p{Extended_Pictographic}\\p{Emoji_Modifier}\\p{Script=Arabic}" +
  "\\p{Script=Devanagari}\\p{M}\\u2640\\u2642]", "u");
const BLOCK = 6000;
const BLOCKS_AT_ONCE = 4;

/** An element. Attributes by name; on*: a listener; children: elements, or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function joins(text, at) {
  const before = Array.from(text.slice(Math.max(0, at - 2), at)).pop() ?? "";
  return JOINED.test(before) && JOINED.test(text.slice(at + 1, at + 3));
}

/** Appends `text` to `parent`, with unseen signs shown by their code. */
function appendText(parent, text) {
  let from = 0;
  for (const found of text.matchAll(UNSEEN)) {
    const [sign] = found, at = found.index;
    if (sign === "\r" && text[at + 1] === "\n") continue;
    if ((sign === "\u200d" || sign === "\u200c") && joins(text, at)) continue;
    if (at > from) parent.append(text.slice(from, at));
    const code = sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parent.append(make("span", { class: "unseen", title: `character U+${code}, not shown as itself` },
      `U+${code}`));
    from = at + sign.length;
  }
  if (from < text.length) parent.append(from ? text.slice(from) : text);
  return parent;
}

/** Text of a model or a file as an element of its own direction. */
function quoted(text, attributes = {}, tag = "bdi") {
  return appendText(make(tag, attributes), text);
}

/** Where to cut a long text: at the end of a line, else at a blank, else between two signs. */
function blocksOf(text) {
  const cuts = [];
  for (let from = 0; from < text.length;) {
    let to = Math.min(from + BLOCK, text.length), broken = false;
    if (to < text.length) {
      const line = text.indexOf("\n", to);
      if (line >= 0 && line < to + 2 * BLOCK) {
        to = line + 1;
      } else {
        const blank = text.lastIndexOf(" ", to);
        to = blank > from ? blank + 1 : to;
        while (to < text.length && /^[\p{M}\u200d\udc00-\udfff]/u.test(text.slice(to, to + 1))) to += 1;
        broken = to < text.length;
      }
    }
    cuts.push({ from, to, broken });
    from = to;
  }
  return cuts;
}

/** Pieces [from, to, marks] of text[from, to), cut wherever a mark begins or ends. spans: by start. */
function piecesOf(from, to, spans) {
  const own = spans.filter(([start, length]) => start < to && start + length > from);
  const edges = new Set([from, to]);
  for (const [start, length] of own) {
    edges.add(Math.max(start, from));
    edges.add(Math.min(start + length, to));
  }
  const sorted = [...edges].sort((one, other) => one - other);
  return sorted.slice(1).map((end, place) => {
    const start = sorted[place];
    return [start, end, own.filter((span) => span[0] < end && span[0] + span[1] > start)];
  });
}

/** A block of text with its marks. look(labels) says class and title of a piece that has these labels. */
function blockOf(text, cut, spans, look) {
  const block = make("div", { class: cut.broken ? "block broken" : "block" });
  // A line feed at the end of a block would show as an empty line: the next block begins a line anyway.
  const to = !cut.broken && text[cut.to - 1] === "\n" ? cut.to - 1 : cut.to;
  for (const [start, end, marks] of piecesOf(cut.from, to, spans)) {
    if (end <= start) continue;
    const piece = text.slice(start, end);
    if (!marks.length) {
      appendText(block, piece);
    } else {
      const begins = marks.some((span) => span[0] === start);
      const { kind, title } = look([...new Set(marks.map((span) => span[2]))]);
      const name = begins ? `${kind} begins` : kind;
      block.append(appendText(make("mark", { class: name, title, tabindex: begins ? "-1" : null }), piece));
    }
  }
  if (to === cut.from) block.append("\n");
  const lines = text.slice(cut.from, to).split("\n").reduce((sum,
    line) => sum + 1 + Math.floor(line.length / 90), 0);
  block.style.containIntrinsicHeight = `auto ${(lines * 1.6).toFixed(1)}em`;
  return block;
}

/**
 * Shows `text` in `into`: its beginning now, the rest in slices, so that a long text freezes nothing.
 * `alive()` false ends it. Returns a promise that is done when all is shown.
 */
async function showText(into, text, spans, look, alive) {
  const cuts = blocksOf(text);
  let first = 0;
  into.setAttribute("aria-busy", "true");
  for (let place = 0; place < cuts.length; place += BLOCKS_AT_ONCE) {
    if (place) await new Promise((resume) => setTimeout(resume));
    if (!alive()) return;
    const shown = cuts.slice(place, place + BLOCKS_AT_ONCE);
    const end = shown[shown.length - 1].to;
    const near = spans.slice(first).filter(([start]) => start < end);
    into.append(...shown.map((cut) => blockOf(text, cut, near, look)));
    while (first < spans.length && spans[first][0] + spans[first][1] <= end) first += 1;
  }
  into.removeAttribute("aria-busy");
}
