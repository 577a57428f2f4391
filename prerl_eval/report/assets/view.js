// The parts of the trace browser's picture: fields, rows of samples, and one sample with its trace.

const GLYPHS = { correct: "✓", wrong: "✗", unparsed: "?", truncated: "…", timeout: "⧖", error: "!",
  unscored: "–" };
const number = new Intl.NumberFormat("en");
// Label of a piece that was searched for, beside the places in meta.labels.
const SEARCHED = -1;

function counted(count, name) {
  return `${number.format(count)} ${name}${count === 1 ? "" : "s"}`;
}

/** A <select> of [value, words]. */
function select(title, options, onchange) {
  const list = make("select", { onchange }, ...options.map(([value, words]) => quoted(words, { value },
    "option")));
  list.dataset.title = title;
  return list;
}

function labelled(field) {
  return make("label", { class: "field" }, make("span", {}, field.dataset.title), field);
}

/** Share of correct samples per run, as thin bars with words. */
function shares(problem) {
  const bars = problem.samples.map((size, run) => {
    const bar = make("span", { class: "share" }, make("span", {}));
    bar.firstChild.style.width = size ? `${(100 * problem.correct[run]) / size}%` : "0";
    return bar;
  });
  const words = problem.samples.map((size,
    run) => (size ? `${problem.correct[run]}/${size}` : "–")).join(" ");
  return make("span", { class: "shares", title: `correct per run: ${words}` }, ...bars);
}

/** Arrow keys, Home and End move the focus among `items`; only the one in focus is a stop of Tab. */
function moveFocus(event, items) {
  const now = items.indexOf(document.activeElement);
  const next = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0,
    End: items.length - 1 }[event.key];
  if (now < 0 || next === undefined) return false;
  event.preventDefault();
  const target = items[Math.min(Math.max(next, 0), items.length - 1)];
  for (const item of items) item.tabIndex = item === target ? 0 : -1;
  target.focus();
  return true;
}

function moveFocusInList(event, list) {
  return list.contains(event.target) && moveFocus(event, [...list.children].map((item) => item.firstChild));
}

/** The prompts of the samples on show, each different one once. shown: [[run, place]]. */
function promptOf(chunk, shown, meta, open) {
  const own = new Map();
  for (const [run, place] of shown) {
    const { prompt } = chunk.runs[run][place];
    own.set(prompt, [...(own.get(prompt) ?? []), meta.runs[run].name]);
  }
  const parts = [...own].flatMap(([prompt, names]) => [
    own.size > 1 ? quoted(names.join(", "), { class: "whose" }, "p") : null,
    quoted(chunk.text(prompt), { class: "words" }, "div"),
  ]);
  return make("details", { class: "prompt", open }, make("summary", {}, "Prompt"),
    make("div", { class: "prompts", tabindex: "0", role: "region", "aria-label": "Prompt" },
      ...parts.filter(Boolean)));
}

/** How a response ended, in words; null where it stopped by itself or nobody says. */
function endOf(finish) {
  if (finish === "length") return "cut at the token limit";
  return finish === "stop" ? null : finish || null;
}

/** Facts of a sample as terms and values; what is not known is left out. */
function factsOf(meta, sample) {
  const facts = [
    ["answer", sample.answer || "none"], ["gold", sample.gold || "none"],
    ["tokens", sample.tokens === null ? null : number.format(sample.tokens)],
    ["ended", endOf(sample.finish)],
    ["cause", sample.detail || null],
    ...meta.values.map(({ name, annotation, about }, place) =>
      [name.replaceAll("_", " "), sample.values[place] === undefined ? null : sample.values[place].toFixed(2),
        [annotation, about].filter(Boolean).join(": ")]),
    ...Object.entries(sample.notes),
    ["seconds", sample.seconds ? sample.seconds.toFixed(1) : null],
    ["grader", sample.grader || null],
  ];
  return make("dl", { class: "facts" }, ...facts.filter(([, value]) => value !== null).map(([term, value,
    about]) =>
    make("div", {}, quoted(term, { title: about }, "dt"), make("dd", {}, quoted(String(value))))));
}

/** Class and title of a piece of a trace with these labels; judged quotes and words look different. */
function lookOf(meta, labels) {
  const known = labels.filter((label) => label !== SEARCHED);
  const kinds = known.map((label) =>
    (meta.labels[label].kind === "judge" ? `judge j${label % 4}` : `words w${label % 6}`));
  const classes = [...kinds, known.length > 1 ? "many" : "", known.length < labels.length ? "searched" : ""];
  const titles = labels.map((label) =>
    label === SEARCHED ? "found" : `${meta.labels[label].name} (${meta.labels[label].annotation})`);
  return { kind: classes.filter(Boolean).join(" "), title: titles.join(", ") };
}

/** Which marks there are, each in its own look, with how many. */
function legendOf(meta, spans) {
  const counts = new Map();
  for (const [, , label] of spans) counts.set(label, (counts.get(label) ?? 0) + 1);
  if (!counts.size) return null;
  const items = [...counts].sort(([one], [other]) => one - other).map(([label, count]) => {
    const { kind, title } = lookOf(meta, [label]);
    return make("li", {}, quoted(label === SEARCHED ? "found" : meta.labels[label].name, { class: kind,
      title }, "mark"),
      ` ${number.format(count)}`);
  });
  return make("ul", { class: "marks", "aria-label": "Marks in this trace" }, ...items);
}

/** Spans of what was searched for, among the others by start. */
function withFound(text, spans, wanted) {
  if (!wanted) return spans;
  const found = [...text.matchAll(pattern(wanted))].map((hit) => [hit.index, hit[0].length, SEARCHED]);
  return [...spans, ...found].sort((one, other) => one[0] - other[0] || other[1] - one[1]);
}

/** One sample: its title, verdict, facts, and its trace, which fills up while alive(). */
function samplePanel(meta, chunk, sample, title, { text: wanted, alive, side }) {
  const status = meta.statuses[sample.status];
  const text = chunk.text(sample.completion);
  const spans = withFound(text, sample.spans, wanted);
  const trace = make("div", { class: "trace words", role: "region", "aria-label": "Trace",
    tabindex: side ? "0" : null });
  title.append(make("span", { class: `verdict ${status}` }, make("span", { "aria-hidden": "true" },
    GLYPHS[status]),
    ` ${status}`));
  showText(trace, text, spans, (labels) => lookOf(meta, labels), alive);
  if (!text) trace.append(make("p", { class: "empty" }, "An empty response."));
  return make("article", { class: "panel" }, title, factsOf(meta, sample), legendOf(meta, spans), trace);
}
