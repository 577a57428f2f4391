// Which samples are meant: by status, by marks, and by text, for which every problem is opened in turn.

/** Facts of a benchmark with, per run, where each problem's samples begin. */
async function openFacts(meta, benchmark) {
  const { runs } = await Chunks.get(`facts/${benchmark}`);
  const problems = meta.benchmarks[benchmark].problems;
  const starts = runs.map((_, run) => {
    let sum = 0;
    return problems.map((problem) => (sum += problem.samples[run]) - problem.samples[run]);
  });
  return { runs, starts };
}

/** What is asked for: {status: name or "", mark: "", "L" or "-L", text}; `found`: where the text is. */
class Filter {
  constructor(meta) {
    this.meta = meta;
    this.clear();
    this.found = new Map();
    this.searched = "";
    this.search = 0;
  }

  clear() {
    this.status = this.mark = this.text = "";
  }

  get active() {
    return Boolean(this.status || this.mark || this.text);
  }

  /** Whether a sample passes, its text aside. */
  passesFacts(facts, run, row) {
    const own = facts.runs[run];
    if (this.status && this.meta.statuses[own.status[row]] !== this.status) return false;
    if (!this.mark) return true;
    const count = own.counts[this.mark.replace("-", "")]?.[row];
    if (count === null || count === undefined) return false;
    return this.mark.startsWith("-") ? count === 0 : count > 0;
  }

  passes(facts, problem, run, place) {
    if (!this.passesFacts(facts, run, facts.starts[run][problem] + place)) return false;
    return !this.text || Boolean(this.found.get(problem)?.has(`${run}.${place}`));
  }

  /** How many samples of a problem pass; null where its text was not searched yet. */
  count(facts, problem) {
    if (this.text && !this.found.has(problem)) return null;
    const { samples } = this.meta.benchmarks[facts.benchmark].problems[problem];
    let sum = 0;
    samples.forEach((size, run) => {
      for (let place = 0; place < size; place += 1) sum += this.passes(facts, problem, run, place);
    });
    return sum;
  }

  cancel() {
    this.search += 1;
  }

  /**
   * Opens problem after problem and notes which responses hold the text, in any case of letters.
   * advance(done, of) after each. Returns whether it came to the end.
   */
  async searchText(facts, advance) {
    const asked = `${facts.benchmark} ${this.text}`;
    if (asked === this.searched) return true;
    const mine = (this.search += 1);
    this.found = new Map();
    this.searched = "";
    const wanted = pattern(this.text);
    const { problems } = this.meta.benchmarks[facts.benchmark];
    for (let problem = 0; problem < problems.length; problem += 1) {
      const chunk = await Chunks.get(`${facts.benchmark}/${problem}`, true);
      if (mine !== this.search) return false;
      const texts = new Map();
      const holds = (place) => {
        if (!texts.has(place)) texts.set(place, chunk.text(place).search(wanted) >= 0);
        return texts.get(place);
      };
      const own = new Set();
      chunk.runs.forEach((samples, run) => samples.forEach((sample, place) => {
        if (holds(sample.completion)) own.add(`${run}.${place}`);
      }));
      this.found.set(problem, own);
      advance(problem + 1, problems.length);
      await new Promise((resume) => setTimeout(resume));
      if (mine !== this.search) return false;
    }
    this.searched = asked;
    return true;
  }
}

/** The pattern that finds `text` as it stands, in any case of letters. */
function pattern(text) {
  return new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&").replaceAll("\\-", "\\x2d"), "giu");
}
