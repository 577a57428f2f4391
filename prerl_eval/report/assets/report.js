// The trace browser: what is on show follows from `state`, and state from the address behind the "#".
// Covers choosing and showing; how texts are opened, shown and found is in chunks.js, text.js and filter.js.

const KEYS = [
  ["j", "next sample that passes the filter"], ["k", "the one before"],
  ["]", "next problem with such samples"], ["[", "the one before"],
  ["r", "same sample of the next run"], ["s", "runs side by side, or one alone"],
  ["m", "next mark in the trace"], ["M", "the one before"],
  ["/", "search in the responses"], ["?", "this list"], ["Esc", "stop the search, close this list"],
];

class Browser {
  constructor(root, meta) {
    this.root = root;
    this.meta = meta;
    this.filter = new Filter(meta);
    this.state = { benchmark: 0, problem: 0, run: 0, places: meta.runs.map(() => 0), side: false };
    this.version = 0;
    this.build();
    window.addEventListener("hashchange", () => this.follow());
    root.addEventListener("keydown", (event) => this.key(event));
  }

  // ---- the frame ------------------------------------------------------------------------------

  build() {
    const { meta } = this;
    this.choice = select("Benchmark", meta.benchmarks.map((own, place) => [String(place), own.name]),
      () => this.go({ benchmark: Number(this.choice.value), problem: 0 }, true));
    this.status = select("Status", [["", "any"], ...meta.statuses.map((name) => [name,
      `${GLYPHS[name]} ${name}`])],
      () => this.refilter());
    const marks = meta.labels.flatMap(({ name, annotation }, place) =>
      [[String(place), `with ${name} (${annotation})`], [`-${place}`, `without ${name} (${annotation})`]]);
    this.mark = select("Behaviour", [["", "any"], ...marks], () => this.refilter());
    this.mark.disabled = !marks.length;
    this.text = make("input", { type: "search", id: "filter-text", autocomplete: "off", spellcheck: "false",
      onsearch: () => this.text.value || this.refilter() });
    this.cancel = make("button", { type: "button", hidden: true, onclick: () => this.filter.cancel() },
      "Cancel");
    this.bar = make("progress", { hidden: true, "aria-label": "Problems searched", value: "0" });
    this.matches = make("p", { class: "matches" });
    this.live = make("p", { class: "unseen-live", role: "status", "aria-live": "polite" });
    this.problems = make("ol", { class: "problems" });
    this.view = make("div", { class: "view" });
    this.help = this.buildHelp();
    const form = make("form", { class: "filters", role: "search", "aria-label": "Filter samples",
      onsubmit: (event) => { event.preventDefault(); this.refilter(); } },
      labelled(this.choice), labelled(this.status), labelled(this.mark),
      make("label", { class: "field wide" }, make("span", {}, "Text in the response"), this.text),
      make("button", { type: "submit" }, "Search"),
      make("button", { type: "button", onclick: () => this.clear() }, "Clear"),
      make("button", { type: "button", "aria-haspopup": "dialog", onclick: () => this.help.showModal() },
        "Keys"));
    this.root.append(form, make("div", { class: "searching" }, this.bar, this.cancel, this.matches),
      make("div", { class: "panes" },
        make("nav", { class: "list", "aria-label": "Problems" }, this.problems), this.view),
      ...meta.hints.map((hint) => quoted(hint, { class: "note" }, "p")), this.live, this.help);
  }

  buildHelp() {
    const rows = KEYS.flatMap(([key, does]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)]);
    return make("dialog", { class: "help", "aria-labelledby": "keys-heading" },
      make("h3", { id: "keys-heading" }, "Keys"),
      make("p", {}, "They work while the focus is in the trace browser, outside of fields."),
      make("dl", {}, ...rows),
      make("button", { type: "button", onclick: () => this.help.close() }, "Close"));
  }

  // ---- state and address ----------------------------------------------------------------------

  get problem() {
    return this.meta.benchmarks[this.state.benchmark].problems[this.state.problem];
  }

  /** The address of what is on show. */
  anchor() {
    const { state, filter, meta } = this;
    const parts = [["b", meta.benchmarks[state.benchmark].name], ["p", this.problem.id]];
    if (this.problem.samples[state.run]) {
      parts.push(["r", meta.runs[state.run].name], ["s", this.indexOf(state.run)]);
    }
    if (state.side) {
      for (const run of this.answered()) parts.push(["with", `${this.indexOf(run)}:${meta.runs[run].name}`]);
    }
    if (filter.status) parts.push(["status", filter.status]);
    if (filter.mark) {
      const { name, annotation } = meta.labels[Number(filter.mark.replace("-", ""))];
      parts.push([filter.mark.startsWith("-") ? "without" : "has", `${annotation}:${name}`]);
    }
    if (filter.text) parts.push(["q", filter.text]);
    return `#${new URLSearchParams(parts)}`;
  }

  answered() {
    return this.meta.runs.map((_, run) => run).filter((run) => this.problem.samples[run]);
  }

  row(run, place = this.state.places[run]) {
    return this.facts.starts[run][this.state.problem] + place;
  }

  indexOf(run) {
    return this.facts.runs[run].index[this.row(run)];
  }

  /** Shows what the address asks for; what it names wrongly is said, and the nearest is shown. */
  async follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (location.hash && !asked.has("b")) return;
    const { meta, state, filter } = this, missing = [];
    const find = (names, kind, wanted) => {
      const place = wanted === null ? 0 : names.indexOf(wanted);
      if (place < 0) missing.push(`${kind} ${wanted}`);
      return Math.max(place, 0);
    };
    state.benchmark = find(meta.benchmarks.map((own) => own.name), "benchmark", asked.get("b"));
    const own = meta.benchmarks[state.benchmark];
    state.problem = find(own.problems.map((problem) => problem.id), "problem", asked.get("p"));
    await this.loadFacts();
    const names = meta.runs.map((run) => run.name);
    state.run = asked.has("r") ? find(names, "run", asked.get("r")) : state.run;
    state.side = asked.has("with");
    const placeOf = (run, index) => {
      const first = this.row(run, 0);
      const indices = this.facts.runs[run]?.index.slice(first, first + this.problem.samples[run]) ?? [];
      return find(indices.map(String), `sample of ${names[run]}`, index);
    };
    if (asked.has("r")) state.places[state.run] = placeOf(state.run, asked.get("s"));
    for (const pair of asked.getAll("with")) {
      const cut = pair.indexOf(":");
      const run = names.indexOf(pair.slice(cut + 1));
      if (run >= 0) state.places[run] = placeOf(run, pair.slice(0, cut));
    }
    filter.status = meta.statuses.includes(asked.get("status")) ? asked.get("status") : "";
    const label = meta.labels.findIndex(({ name, annotation }) =>
      `${annotation}:${name}` === (asked.get("has") ?? asked.get("without")));
    filter.mark = label < 0 ? "" : `${asked.has("without") ? "-" : ""}${label}`;
    filter.text = asked.get("q") ?? "";
    this.showFilter();
    if (location.hash) this.root.scrollIntoView();
    await this.show();
    if (missing.length) this.say(`This report has no ${missing.join(", no ")}; the first is shown.`, true);
    this.matchText();
  }

  /** Changes state and shows it. push: a step that the browser's Back undoes. */
  async go(changes, push = false) {
    const other = "benchmark" in changes && changes.benchmark !== this.state.benchmark;
    if (other || ("problem" in changes && changes.problem !== this.state.problem)) {
      this.state.places = this.state.places.map(() => null);
    }
    Object.assign(this.state, changes);
    if (other) await this.loadFacts();
    this.settle();
    history[push ? "pushState" : "replaceState"](null, "", this.anchor());
    await this.show();
    if (other) this.matchText();
  }

  /** Samples for runs that have none chosen: the first that passes the filter, else the first. */
  settle() {
    const { state, problem } = this;
    if (!problem.samples[state.run]) state.run = Math.max(0, problem.samples.findIndex(Boolean));
    state.places = state.places.map((place, run) => {
      if (place !== null && place < problem.samples[run]) return place;
      const [first] = this.passing(run);
      return first ?? 0;
    });
  }

  async loadFacts() {
    if (this.facts?.benchmark === this.state.benchmark) return;
    const { benchmark } = this.state;
    this.facts = { benchmark, ...(await openFacts(this.meta, benchmark)) };
    this.choice.value = String(benchmark);
    this.listProblems();
  }

  passing(run, problem = this.state.problem) {
    const size = this.meta.benchmarks[this.facts.benchmark].problems[problem].samples[run];
    return Array.from({ length: size }, (_, place) => place)
      .filter((place) => this.filter.passes(this.facts, problem, run, place));
  }

  // ---- filter ---------------------------------------------------------------------------------

  showFilter() {
    this.status.value = this.filter.status;
    this.mark.value = this.filter.mark;
    this.text.value = this.filter.text;
  }

  clear() {
    this.status.value = this.mark.value = this.text.value = "";
    this.refilter();
  }

  refilter() {
    this.filter.status = this.status.value;
    this.filter.mark = this.mark.value;
    this.filter.text = this.text.value;
    history.replaceState(null, "", this.anchor());
    this.show();
    this.matchText();
  }

  /** Searches the text, where one is asked for, and shows what was found as it is found. */
  async matchText() {
    const mine = (this.asked = (this.asked ?? 0) + 1);
    this.filter.cancel();
    this.countMatches();
    this.bar.hidden = this.cancel.hidden = !this.filter.text;
    if (!this.filter.text) return;
    const done = await this.filter.searchText(this.facts, (count, of) => {
      this.bar.max = of;
      this.bar.value = count;
      this.countMatches();
      if (count - 1 === this.state.problem) this.show();
    });
    if (mine !== this.asked) return;
    this.bar.hidden = this.cancel.hidden = true;
    this.countMatches(!done);
    this.say(this.matches.textContent);
  }

  countMatches(stopped = false) {
    const { facts, filter } = this;
    const counts = this.meta.benchmarks[facts.benchmark].problems.map((_, problem) => filter.count(facts,
      problem));
    [...this.problems.children].forEach((item, problem) => {
      item.classList.toggle("none", filter.active && counts[problem] === 0);
      item.querySelector(".count").textContent = filter.active ? (counts[problem] ?? "·") : "";
    });
    const known = counts.filter((count) => count !== null);
    const sum = known.reduce((one, other) => one + other, 0);
    const rest = known.length < counts.length ? `, ${counts.length - known.length} not searched` : "";
    const problems = known.filter(Boolean).length;
    this.matches.textContent = `${counted(sum, "sample")} of ${counted(problems, "problem")}` +
      `${filter.active ? " pass the filter" : ""}${rest}${stopped ? ": the search was stopped" : ""}`;
  }

  // ---- what is on show ------------------------------------------------------------------------

  listProblems() {
    const { meta, state } = this;
    this.problems.replaceChildren(...meta.benchmarks[state.benchmark].problems.map((problem, place) => {
      const address = new URLSearchParams([["b", meta.benchmarks[state.benchmark].name], ["p", problem.id]]);
      const link = make("a", { href: `#${address}`, tabindex: "-1", onclick: (event) => this.pick(event,
        place) },
        quoted(problem.id, { class: "id" }), make("span", { class: "count" }),
        quoted(problem.title, { class: "title" }), shares(problem));
      return make("li", {}, link);
    }));
  }

  pick(event, problem) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.go({ problem }, true);
  }

  /** Shows the chosen problem and samples; what was asked for later wins. */
  async show() {
    const version = (this.version += 1);
    const { state } = this;
    const chunk = await Chunks.get(`${state.benchmark}/${state.problem}`);
    if (version !== this.version) return;
    this.settle();
    const focused = this.view.contains(document.activeElement) && document.activeElement.dataset.focus;
    const alive = () => version === this.version;
    const shown = state.side ? this.answered() : [state.run];
    const panels = shown.map((run) => this.panel(chunk, run, alive));
    const opened = this.view.querySelector("details.prompt")?.open ?? true;
    this.view.replaceChildren(this.heading(), promptOf(chunk, shown.map((run) => [run, state.places[run]]),
      this.meta, opened),
      this.grid(), make("div", { class: state.side ? "panels side" : "panels" }, ...panels));
    this.markCurrent();
    const same = focused && this.view.querySelector(`[data-focus="${CSS.escape(focused)}"]`);
    if (same) same.focus({ preventScroll: true });
    this.say(shown.map((run) => this.spoken(run)).join("; "));
    this.root.dataset.shown = this.anchor();
  }

  heading() {
    const { problem, state } = this;
    const step = (by, sign, label) => make("button", { type: "button", "data-focus": `problem${by}`,
      "aria-label": label, title: label, onclick: () => this.stepProblem(by) }, sign);
    const link = make("a", { class: "link", href: this.anchor(), onclick: (event) => this.copy(event) },
      "Link");
    return make("div", { class: "heading" },
      make("h3", {}, "Problem ", quoted(problem.id)),
      make("span", { class: "steps" }, step(-1, "‹", "Previous problem"), step(1, "›", "Next problem")),
      make("span", { class: "gold" }, "gold ", quoted(problem.gold || "none", { class: "value" })),
      make("label", { class: "check" }, make("input", { type: "checkbox", checked: state.side,
        "data-focus": "side",
        disabled: this.answered().length < 2, onchange: () => this.go({ side: !state.side }) }),
          " Side by side"),
      link);
  }

  /** All samples of the problem: a row of buttons per run. */
  grid() {
    const { meta, state, facts } = this;
    const rows = this.answered().map((run) => {
      const passing = new Set(this.passing(run));
      const places = Array.from({ length: this.problem.samples[run] }, (_, place) => place);
      const buttons = places.map((place) => {
        const status = meta.statuses[facts.runs[run].status[this.row(run, place)]];
        const chosen = place === state.places[run] && (state.side || run === state.run);
        const index = facts.runs[run].index[this.row(run, place)];
        return make("button", { type: "button", class: `chip ${status}${passing.has(place) ? "" : " out"}`,
          "aria-pressed": String(chosen), tabindex: chosen || (run !== state.run && place === 0 &&
            !state.side) ? "0" : "-1",
          "data-focus": `chip${run}.${place}`, "aria-label": `sample ${index}, ${status}`,
          title: `sample ${index}: ${status}`, onclick: () => this.choose(run, place) }, GLYPHS[status]);
      });
      const right = `${this.problem.correct[run]}/${this.problem.samples[run]}`;
      return make("div", { class: "samples", role: "group", "aria-label": `Samples of ${meta.runs[run].name}`,
        onkeydown: (event) => moveFocus(event, buttons) },
        make("span", { class: "run" }, quoted(meta.runs[run].name), make("span", { class: "right" }, right)),
        make("span", { class: "chips" }, ...buttons));
    });
    return make("div", { class: "grid" }, ...rows);
  }

  panel(chunk, run, alive) {
    const sample = chunk.runs[run][this.state.places[run]];
    const size = this.problem.samples[run];
    const step = (by, sign, label) => make("button", { type: "button", "data-focus": `step${run}${by}`,
      "aria-label": label, title: label, onclick: () => this.stepSample(by, run) }, sign);
    const title = make("div", { class: "title" }, make("h4", {}, quoted(this.meta.runs[run].name)),
      make("span", { class: "steps" }, step(-1, "‹", "Previous sample"),
        make("span", {}, `sample ${sample.index} `, make("span", { class: "of" },
          `of ${number.format(size)}`)),
        step(1, "›", "Next sample")));
    return samplePanel(this.meta, chunk, sample, title, { text: this.filter.text, alive,
      side: this.state.side });
  }

  markCurrent() {
    [...this.problems.children].forEach((item, place) => {
      const link = item.firstChild, current = place === this.state.problem;
      link.tabIndex = current ? 0 : -1;
      if (!current) link.removeAttribute("aria-current");
      else {
        link.setAttribute("aria-current", "true");
        const { offsetTop, offsetHeight } = item, list = this.problems;
        if (offsetTop < list.scrollTop || offsetTop + offsetHeight > list.scrollTop + list.clientHeight) {
          list.scrollTop = offsetTop - list.clientHeight / 3;
        }
      }
    });
  }

  spoken(run) {
    const row = this.row(run), own = this.facts.runs[run];
    const tokens = own.tokens[row] === null ? "" : `, ${number.format(own.tokens[row])} tokens`;
    const status = this.meta.statuses[own.status[row]];
    return `${this.meta.runs[run].name}, sample ${own.index[row]}: ${status}${tokens}`;
  }

  say(text, seen = false) {
    this.live.textContent = text;
    this.live.classList.toggle("seen", seen);
    clearTimeout(this.seen);
    if (seen) this.seen = setTimeout(() => this.live.classList.remove("seen"), 5000);
  }

  copy(event) {
    event.preventDefault();
    const address = new URL(this.anchor(), location.href).href;
    const done = () => this.say("The link to this view was copied.", true);
    const not = () => this.say("This browser copies no link here: take it from the address bar.", true);
    if (navigator.clipboard) navigator.clipboard.writeText(address).then(done, not);
    else not();
  }

  // ---- steps and keys -------------------------------------------------------------------------

  choose(run, place) {
    const places = [...this.state.places];
    places[run] = place;
    this.go({ run, places });
  }

  stepSample(by, run = this.state.run) {
    const passing = this.passing(run), now = this.state.places[run];
    const next = by > 0 ? passing.find((place) => place > now) : passing.findLast((place) => place < now);
    if (next === undefined) this.say(`This is the ${by > 0 ? "last" : "first"} such sample.`, true);
    else this.choose(run, next);
  }

  stepProblem(by) {
    const { problems } = this.meta.benchmarks[this.state.benchmark];
    for (let next = this.state.problem + by; next >= 0 && next < problems.length; next += by) {
      if (this.filter.count(this.facts, next) !== 0) return this.go({ problem: next }, true);
    }
    return this.say(by > 0 ? "This is the last such problem." : "This is the first such problem.", true);
  }

  stepRun() {
    const runs = this.answered(), run = runs[(runs.indexOf(this.state.run) + 1) % runs.length];
    const index = this.indexOf(this.state.run), first = this.row(run, 0);
    const same = this.facts.runs[run].index.slice(first, first + this.problem.samples[run]).indexOf(index);
    this.choose(run, same < 0 ? this.state.places[run] : same);
  }

  stepMark(by) {
    const marks = [...this.view.querySelectorAll("mark.begins")];
    if (!marks.length) return this.say("No marks here.", true);
    const now = marks.indexOf(document.activeElement);
    const next = marks[(now < 0 ? (by > 0 ? 0 : marks.length - 1) : now + by + marks.length) % marks.length];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "center" });
    return this.say(`mark ${marks.indexOf(next) + 1} of ${marks.length}: ${next.title}`);
  }

  key(event) {
    if (event.key === "Escape") return this.filter.cancel();
    if (event.ctrlKey || event.metaKey || event.altKey || this.help.open) return undefined;
    if (event.target.closest("input[type=search], select")) return undefined;
    if (moveFocusInList(event, this.problems)) return undefined;
    const action = {
      j: () => this.stepSample(1), k: () => this.stepSample(-1),
      "]": () => this.stepProblem(1), "[": () => this.stepProblem(-1),
      r: () => this.stepRun(), m: () => this.stepMark(1), M: () => this.stepMark(-1),
      s: () => this.answered().length > 1 && this.go({ side: !this.state.side }),
      "/": () => this.text.focus(), "?": () => this.help.showModal(),
    }[event.key];
    if (!action) return undefined;
    event.preventDefault();
    return action();
  }
}

/** A button that turns the page light, dark, or as the system says. */
function themeButton() {
  const names = ["auto", "light", "dark"];
  const button = make("button", { type: "button", class: "theme", onclick: () => {
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length];
    document.documentElement.dataset.theme = next;
    button.textContent = `Colours: ${next}`;
  } }, "Colours: auto");
  return button;
}

function start() {
  document.querySelector("body > header").append(themeButton());
  const root = document.getElementById("browser");
  root.tabIndex = -1;
  Chunks.find();
  const browser = new Browser(root, JSON.parse(document.getElementById("meta").textContent));
  if (browser.meta.benchmarks.length) {
    if (new URLSearchParams(location.hash.slice(1)).has("b")) browser.follow();
    else browser.loadFacts().then(() => { browser.settle(); browser.show(); browser.countMatches(); });
  }
}

start();
