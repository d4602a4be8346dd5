"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const GRADES = { a: "A", b: "B", c: "C", n: "no" };
  const LABELS = { A: "1", B: "1", C: "", no: "0" };

  // Kept by the browser where it allows that, else in memory.
  const memory = {};
  let isKept = true;
  function recall(key) {
    try { return window.localStorage.getItem(key); } catch (error) { isKept = false; return memory[key] || null; }
  }
  function keep(key, text) {
    try { window.localStorage.setItem(key, text); } catch (error) { isKept = false; memory[key] = text; }
  }

  // -- light and dark
  const themeButton = byId("theme");
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : systemDark.matches;
  }
  function showTheme() { themeButton.textContent = isDark() ? "Light" : "Dark"; }
  const chosenTheme = recall("surveycnn.theme");
  if (chosenTheme === "dark" || chosenTheme === "light") { document.documentElement.dataset.theme = chosenTheme; }
  themeButton.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    keep("surveycnn.theme", document.documentElement.dataset.theme);
    showTheme();
  });
  systemDark.addEventListener("change", showTheme);
  showTheme();

  // -- small tools
  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name in made && name !== "list") { made[name] = value; } else { made.setAttribute(name, value); }
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const SVG = "http://www.w3.org/2000/svg";
  function drawing(tag, attributes, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) { made.setAttribute(name, value); }
    made.append(...children);
    return made;
  }
  function digits(value, n) {
    if (value === null || value === undefined) { return "–"; }
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(Math.max(n - 2, 0)) : String(Number(value.toPrecision(n)));
  }
  const said = byId("said");
  let sayTimer = 0;
  function say(text) {
    const place = byId("detail").open ? byId("detail") : document.body; // what is outside of an open view is behind it
    if (said.parentNode !== place) { place.append(said); }
    said.textContent = text;
    clearTimeout(sayTimer);
    sayTimer = setTimeout(() => { said.textContent = ""; }, 1800);
  }
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) {
      const area = element("textarea", { value: text });
      (byId("detail").open ? byId("detail") : document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say("Copied: " + text.slice(0, 60));
  }
  const copyConfig = byId("copy-config");
  if (copyConfig) { copyConfig.addEventListener("click", () => copy(byId("config").textContent)); }

  if (!byId("gallery")) { return; }
  byId("gallery").hidden = false;

  // -- where the catalog is: a report that lies in its folder knows it from its own address
  function catalogPath() {
    if (data.isBeside && window.location.protocol === "file:") {
      return decodeURIComponent(window.location.pathname).replace(/\/[^/]*$/, "");
    }
    return data.path;
  }
  const quoted = (text) => (/^[\w.\/+:@-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'");
  const coneCommand = (source) => `surveycnn query ${quoted(catalogPath())} --cone ${source.ra} ${source.dec} 2`;

  // -- grades
  let grades = {};
  try { grades = JSON.parse(recall(data.key) || "{}") || {}; } catch (error) { grades = {}; }
  if (typeof grades !== "object" || Array.isArray(grades)) { grades = {}; }
  const history = [];
  keep(data.key, JSON.stringify(grades));
  byId("memory").hidden = isKept;
  const gradeKey = (ranking, source) => ranking.name + ":" + source.id;
  const gradeOf = (source) => grades[gradeKey(state.ranking, source)] || "";
  function setGrade(source, grade) {
    const key = gradeKey(state.ranking, source);
    const before = grades[key] || "";
    if (before === grade) { return; }
    history.push([key, before]);
    putGrade(key, grade);
    say(grade ? `Graded ${grade}` : "Grade removed");
  }
  function putGrade(key, grade) {
    if (grade) { grades[key] = grade; } else { delete grades[key]; }
    keep(data.key, JSON.stringify(grades));
    refreshGrades();
  }
  function undo() {
    const last = history.pop();
    if (!last) { say("Nothing to undo"); return; }
    putGrade(last[0], last[1]);
    const [name, id] = last[0].split(":");
    if (name === state.ranking.name) { focusCard(state.shown.findIndex((member) => data.sources[member.n].id === id)); }
    say("Undone");
  }

  // -- state and rankings
  const PAGE = 24;
  const state = { ranking: data.rankings[0], shown: [], at: 0, limit: PAGE };
  const scoreName = (ranking) => (ranking.name === "unusual" ? "morph_domain" : ranking.name + "_prob");
  const scoreOf = (ranking, source) => {
    const value = source[scoreName(ranking)];
    return value === undefined || value === null ? source[ranking.by] : value;
  };
  const SORTS = {
    score: ["score", (source) => source[state.ranking.by], -1],
    low: ["score, lowest first", (source) => source[state.ranking.by], 1],
    mag: ["magnitude, brightest first", (source) => source.mag, 1],
    faint: ["magnitude, faintest first", (source) => source.mag, -1],
    z: ["redshift", (source) => source.z_phot, 1],
    ra: ["right ascension", (source) => source.ra, 1],
  };
  for (const [name, [text]] of Object.entries(SORTS)) { byId("sort").append(element("option", { value: name }, text)); }
  for (const flag of data.flags) {
    const choice = element("select", {}, ...[["", "any"], ["0", "not set"], ["1", "set"]].map(([value, text]) => element("option", { value }, text)));
    choice.dataset.flag = flag.value;
    byId("flag-choices").append(element("label", { title: flag.doc }, flag.name, choice));
  }
  for (const ranking of data.rankings) {
    const button = element("button", { type: "button" }, `${ranking.title} (${ranking.members.length})`);
    button.dataset.ranking = ranking.name;
    button.addEventListener("click", () => { state.ranking = ranking; state.at = 0; state.limit = PAGE; showRanking(); });
    byId("rankings").append(button);
  }
  function showRanking() {
    for (const button of byId("rankings").children) {
      button.setAttribute("aria-pressed", String(button.dataset.ranking === state.ranking.name));
    }
    byId("ranking-reason").textContent = state.ranking.reason;
    select();
  }

  // -- filters
  const numberIn = (id) => (byId(id).value.trim() === "" ? null : Number(byId(id).value));
  function passes(member) {
    const source = data.sources[member.n];
    const [least, bright, faint, domain, grade] = [numberIn("least"), numberIn("bright"), numberIn("faint"), byId("domain").value, byId("grade").value];
    if (least !== null && !(scoreOf(state.ranking, source) >= least)) { return false; }
    if (bright !== null && !(source.mag !== null && source.mag >= bright)) { return false; }
    if (faint !== null && !(source.mag !== null && source.mag <= faint)) { return false; }
    if (domain && (domain === "inside") !== member.inside) { return false; }
    if (grade && (grade === "none" ? gradeOf(source) !== "" : gradeOf(source) !== grade)) { return false; }
    for (const choice of byId("flag-choices").querySelectorAll("select")) {
      const isSet = ((source.flags || 0) & Number(choice.dataset.flag)) !== 0;
      if (choice.value && (choice.value === "1") !== isSet) { return false; }
    }
    return true;
  }
  function select() {
    const [, value, sign] = SORTS[byId("sort").value];
    const known = (member) => { const v = value(data.sources[member.n]); return v === undefined ? null : v; };
    state.shown = state.ranking.members.filter(passes).sort((one, other) => {
      const [a, b] = [known(one), known(other)];
      if (a === null || b === null) { return (a === null) - (b === null); }
      return sign * (a - b) || one.n - other.n;
    });
    state.at = Math.min(state.at, Math.max(state.shown.length - 1, 0));
    if (state.at >= state.limit) { state.limit = state.at + 1; }
    byId("cards").replaceChildren(...state.shown.slice(0, state.limit).map(card));
    byId("empty").hidden = state.shown.length > 0;
    byId("count").textContent = `${state.shown.length} of ${state.ranking.members.length} candidates`;
    showMore();
    refreshGrades();
    setTab(state.at);
  }
  function showMore() {
    const n = state.shown.length - state.limit;
    byId("more").hidden = n <= 0;
    byId("more").textContent = `Show ${n} more`;
  }
  function extend(limit) {
    const before = state.limit;
    state.limit = Math.max(before, Math.min(limit, state.shown.length));
    byId("cards").append(...state.shown.slice(before, state.limit).map((member, i) => card(member, before + i)));
    showMore();
    refreshGrades();
  }
  byId("more").addEventListener("click", () => { const first = state.limit; extend(state.shown.length); focusCard(first); });
  byId("filters").addEventListener("input", () => select());
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(select, 0));

  // -- cards
  function picture(source, side) {
    const parts = [];
    if (source.picture) {
      parts.push(element("img", { src: source.picture, alt: "" }));
      const ruler = element("span", { className: "ruler" });
      ruler.style.width = (100 * (side === "half" ? 2 : 5) / (data.pictureArcsec / (side === "half" ? 2 : 1))) + "%";
      parts.push(ruler, element("span", { className: "ruler-text" }, side === "half" ? "2″" : "5″"));
    } else {
      parts.push(element("span", { className: "none" }, "no picture"));
    }
    return parts;
  }
  const N_PDF = 160;
  // one axis for all candidates of a ranking, so that their plots compare
  function topRedshift() {
    const ends = state.ranking.members.map((member) => data.sources[member.n].z_phot_hi || 0).sort((a, b) => a - b);
    return Math.min(Math.max(1, Math.ceil(1.2 * (ends[Math.floor(0.95 * ends.length)] || 0))), 8);
  }
  function pdfPlot(source, top) {
    if (!source.pdf) { return null; }
    const values = [];
    for (let i = 0; i <= N_PDF; i += 1) {
      const z = top * i / N_PDF;
      values.push(source.pdf.reduce((sum, [w, m, s]) => sum + w / s * Math.exp(-0.5 * ((z - m) / s) ** 2), 0));
    }
    const peak = Math.max(...values, 1e-12);
    const path = values.map((value, i) => `${i ? "L" : "M"}${i} ${(39 - 37 * value / peak).toFixed(1)}`).join("");
    const label = `redshift PDF, median ${digits(source.z_phot, 3)}, from 0 to ${digits(top, 2)}`;
    return drawing("svg", { class: "pdf", viewBox: `0 0 ${N_PDF} 40`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      drawing("path", { d: path + `L${N_PDF} 40L0 40Z` }));
  }
  function gradeButtons(source) {
    const group = element("div", { className: "grades", role: "group" });
    group.setAttribute("aria-label", "Grade");
    for (const grade of Object.values(GRADES)) {
      const button = element("button", { type: "button" }, grade);
      button.dataset.grade = grade;
      button.addEventListener("click", () => setGrade(source, gradeOf(source) === grade ? "" : grade));
      group.append(button);
    }
    return group;
  }
  const scoreText = (source) => {
    const ranking = state.ranking;
    if (ranking.name === "unusual") { return `distance ${digits(source.morph_domain, 3)}`; }
    const value = source[ranking.name + "_prob"];
    return value === undefined || value === null ? `logit ${digits(source[ranking.by], 3)}` : `p ${digits(value, 3)}`;
  };
  const magText = (source) => (source.mag === null || source.mag === undefined ? "" : `${data.band} ${source.mag.toFixed(2)}`);
  function redshiftText(source) {
    if (source.z_phot === undefined || source.z_phot === null) { return ""; }
    return `z ${source.z_phot.toFixed(2)} (${digits(source.z_phot_lo, 2)} to ${digits(source.z_phot_hi, 2)})`;
  }
  const flagNames = (source) => data.flags.filter((flag) => ((source.flags || 0) & flag.value) !== 0).map((flag) => flag.name);
  function axis(top) {
    return element("span", { className: "pdf-axis", ariaHidden: "true" }, ...[0, 0.5, 1].map((share) => element("span", {}, (share ? "" : "z ") + digits(share * top, 2))));
  }
  function card(member, place) {
    const source = data.sources[member.n];
    const crop = element("span", { className: "crop" }, ...picture(source, "half"));
    if (source.truth) { crop.append(element("span", { className: "kind" }, "truth: " + source.truth)); }
    const open = element("button", { type: "button", className: "open" }, crop,
      element("span", { className: "first" }, element("b", {}, scoreText(source)), element("span", {}, magText(source))),
      element("span", { className: "small" }, redshiftText(source) || "no redshift"));
    const names = flagNames(source).join(", ");
    open.setAttribute("aria-label", `Candidate ${place + 1}, ${scoreText(source)}, ${magText(source)}, ${redshiftText(source)}${names ? ", flags " + names : ""}`);
    open.tabIndex = -1;
    open.addEventListener("click", () => { setTab(place); showDetail(place); });
    open.addEventListener("focus", () => setTab(place));
    const top = topRedshift();
    const item = element("li", {}, open, pdfPlot(source, top), source.pdf ? axis(top) : null,
      element("span", { className: "small" }, source.hms || ""),
      names ? element("span", { className: "small flags", title: names }, "flags: " + names) : null, gradeButtons(source));
    item.dataset.id = source.id;
    return item;
  }
  const cards = () => Array.from(byId("cards").children);
  function setTab(place) {
    state.at = place;
    cards().forEach((item, i) => { item.querySelector(".open").tabIndex = i === place ? 0 : -1; });
  }
  function focusCard(place) {
    if (place >= state.limit) { extend(place + PAGE); }
    const item = cards()[place];
    if (item) { setTab(place); item.querySelector(".open").focus(); }
  }
  function refreshGrades() {
    let n = 0;
    for (const member of state.ranking.members) { n += gradeOf(data.sources[member.n]) !== "" ? 1 : 0; }
    byId("progress").textContent = `${n} of ${state.ranking.members.length} graded`;
    byId("undo").disabled = history.length === 0;
    byId("export").disabled = Object.keys(grades).length === 0;
    cards().forEach((item, i) => {
      const source = data.sources[state.shown[i].n];
      const grade = gradeOf(source);
      item.dataset.grade = grade;
      showGrade(item, grade);
      const crop = item.querySelector(".crop");
      const old = crop.querySelector(".got");
      if (old) { old.remove(); }
      if (grade) { crop.append(element("span", { className: "got" }, grade)); }
    });
    if (byId("detail").open) { showGrade(byId("detail"), gradeOf(data.sources[state.shown[state.at].n])); }
  }
  function showGrade(place, grade) {
    for (const button of place.querySelectorAll(".grades button")) {
      button.setAttribute("aria-pressed", String(button.dataset.grade === grade));
    }
  }

  // -- keys: on the cards, and in the opened view
  function columns() {
    const items = cards();
    const top = items.length ? items[0].offsetTop : 0;
    const next = items.findIndex((item) => item.offsetTop > top);
    return next < 0 ? Math.max(items.length, 1) : next;
  }
  const MOVES = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columns, ArrowUp: () => -columns(), Home: () => -1e9, End: () => 1e9 };
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { return; }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const inDetail = byId("detail").open;
    if (key in MOVES && state.shown.length) {
      const by = inDetail && key.startsWith("Arrow") ? (/Right|Down/.test(key) ? 1 : -1) : MOVES[key]();
      const place = Math.min(Math.max(state.at + by, 0), state.shown.length - 1);
      if (inDetail) { openAt(place); } else { focusCard(place); }
    } else if (key in GRADES && state.shown.length) {
      setGrade(data.sources[state.shown[state.at].n], GRADES[key]);
      if (inDetail && state.at + 1 < state.shown.length) { openAt(state.at + 1); }
      if (!inDetail) { focusCard(Math.min(state.at + 1, state.shown.length - 1)); }
    } else if (key === "u") {
      undo();
      if (inDetail) { showDetail(state.at); }
    } else { return; }
    event.preventDefault();
  }
  byId("cards").addEventListener("keydown", onKey);
  byId("detail").addEventListener("keydown", onKey);
  byId("undo").addEventListener("click", undo);

  // -- the opened view
  function compass(source) {
    const found = data.compass[source.mosaic];
    if (found === undefined || !source.picture) { return null; }
    const [turn, isEastLeft] = found;
    const side = isEastLeft ? -1 : 1;
    const letter = (text, x, y) => Object.assign(drawing("text", { x, y, transform: `rotate(${turn} ${x} ${y - 4})` }), { textContent: text });
    return drawing("svg", { class: "compass", viewBox: "-30 -30 60 60", role: "img", "aria-label": "north and east" },
      drawing("g", { transform: `rotate(${-turn}) translate(${-side * 10} 10)` },
        drawing("path", { d: `M${side * 24} 0H0V-24` }), letter("N", 0, -27), letter("E", side * 31, 4)));
  }
  function ticksAround() {
    return [["50%", "38%", "1px", "6%"], ["50%", "56%", "1px", "6%"], ["38%", "50%", "6%", "1px"], ["56%", "50%", "6%", "1px"]].map(([left, top, width, height]) => {
      const tick = element("span", { className: "tick" });
      Object.assign(tick.style, { left, top, width, height });
      return tick;
    });
  }
  function facts(source) {
    const rows = [["source_id", source.id], ["ra, dec", `${source.ra}, ${source.dec}`], ["ICRS", source.hms]];
    if (source.mosaic) { rows.push(["mosaic, x, y", `${source.mosaic}, ${digits(source.x, 6)}, ${digits(source.y, 6)} px`]); }
    const known = data.bands.filter((band) => typeof (source.mags || {})[band] === "number");
    const mags = known.map((band) => `${band} ${source.mags[band].toFixed(2)}`);
    if (mags.length) { rows.push(["AB mag", mags.join(", ")]); }
    if (source.flux_radius !== undefined) { rows.push(["half-light radius", digits(source.flux_radius, 3) + " arcsec"]); }
    for (const task of ["lens", "merger"]) {
      if (source[task + "_logit"] !== undefined) {
        rows.push([task, `prob ${digits(source[task + "_prob"], 4)}, score ${digits(source[task + "_score"], 4)}, logit ${digits(source[task + "_logit"], 4)}, domain ${digits(source[task + "_domain"], 3)}`]);
      }
    }
    if (source.merger_time !== undefined) { rows.push(["merger time", `${digits(source.merger_time, 3)} ± ${digits(source.merger_time_err, 2)} Myr, if one`]); }
    if (source.votes) { rows.push(["votes", source.votes.map(([name, value]) => `${name} ${value}`).join(", ")]); }
    if (source.morph_domain !== undefined) { rows.push(["morph_domain", digits(source.morph_domain, 3)]); }
    if (redshiftText(source)) { rows.push(["redshift", redshiftText(source) + `, domain ${digits(source.pz_domain, 3)}`]); }
    rows.push(["flags", flagNames(source).join(", ") || "none"]);
    if (source.truth) { rows.push(["truth", source.truth]); }
    return element("dl", { className: "facts" }, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
  }
  function copyButton(text, value) {
    const button = element("button", { type: "button", className: "quiet" }, text);
    button.addEventListener("click", () => copy(value));
    return button;
  }
  function openAt(place) {
    if (place >= state.limit) { extend(place + PAGE); }
    setTab(place);
    showDetail(place);
  }
  function showDetail(place) {
    const source = data.sources[state.shown[place].n];
    const dialog = byId("detail");
    byId("detail-title").textContent = `${state.ranking.title} ${place + 1} of ${state.shown.length}: ${scoreText(source)}`;
    byId("detail-picture").replaceChildren(...picture(source, "full"), ...(source.picture ? ticksAround() : []), ...[compass(source)].filter(Boolean));
    const top = topRedshift();
    const plot = pdfPlot(source, top);
    const marks = [0, top / 4, top / 2, 3 * top / 4, top].map((z) => element("span", {}, digits(z, 2)));
    byId("detail-facts").replaceChildren(
      gradeButtons(source), element("p", { className: "caption keys" }, "A, B, C and N grade and go on; arrows move; U undoes."), facts(source),
      ...(plot ? [element("div", { className: "detail-pdf" }, plot, element("div", { className: "pdf-axis" }, ...marks), element("span", { className: "caption" }, "redshift PDF"))] : []),
      element("div", { className: "copies" }, copyButton("Copy degrees", `${source.ra} ${source.dec}`), copyButton("Copy sexagesimal", source.hms), copyButton("Copy query", coneCommand(source)), copyButton("Copy source_id", source.id)));
    if (!dialog.open) { dialog.showModal(); }
    if (!dialog.contains(document.activeElement) || document.activeElement === byId("detail-close")) { dialog.focus(); } // keys go on
    showGrade(dialog, gradeOf(source));
  }
  byId("detail-close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("close", () => focusCard(state.at));

  // -- export
  function exported() {
    const rows = ["source_id,ra,dec,model,grade,label"];
    const sources = Object.fromEntries(data.sources.map((source) => [source.id, source]));
    for (const ranking of data.rankings) {
      for (const member of ranking.members) {
        const source = data.sources[member.n];
        const grade = grades[gradeKey(ranking, source)];
        if (grade in LABELS && sources[source.id]) { rows.push([source.id, source.ra, source.dec, ranking.task, grade, LABELS[grade]].join(",")); }
      }
    }
    return rows.join("\n") + "\n";
  }
  byId("export").addEventListener("click", () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([exported()], { type: "text/csv" })), download: `${data.name}_grades.csv` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  showRanking();
}());
