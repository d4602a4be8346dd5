// The panel of a source: what it is, all of its columns, and what can be copied.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function shortly(source) {
  const mags = Object.entries(source.mags).filter(([, mag]) => mag !== null).map(([band, mag]) => `${band} ${mag.toFixed(2)}`);
  const scores = Object.entries(source.scores).filter(([, score]) => score !== null).map(([name, score]) => `${name} ${score}`);
  return { mags: mags.join("  "), scores: scores.join("\n") };
}

export function fillPanel(panel, source, { path, copied, close }) {
  const text = shortly(source);
  const ra = String(source.ra), dec = String(source.dec);
  const copies = [
    ["degrees", `${ra} ${dec}`],
    ["sexagesimal", source.hms],
    ["source_id", source.id],
    ["query", `surveycnn query ${path} --cone ${ra} ${dec} 2`],
  ].map(([what, value]) => {
    const button = element("button", { type: "button", class: "quiet" }, `Copy ${what}`);
    button.addEventListener("click", () => copied(what, value));
    return button;
  });
  const facts = [
    ["Position", `${ra} ${dec}`], ["", source.hms], ["Pixel", `${source.mosaic}: x ${source.x}, y ${source.y}`],
    ["AB mag", text.mags], ["Scores", text.scores.replaceAll("\n", ", ")], ["Primary", source.primary ? "yes" : "no: another row is the same object"],
  ].filter(([, value]) => value);
  const end = element("button", { type: "button", class: "quiet" }, "Close");
  end.addEventListener("click", close);
  const rows = source.columns.map((column) => element("tr", { title: column.meaning },
    element("th", { scope: "row" }, column.name + (column.unit ? ` [${column.unit}]` : "")), element("td", {}, column.value)));
  panel.replaceChildren(
    element("div", { class: "panel-head" }, element("h2", { class: "mono" }, source.id), end),
    element("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    element("div", { class: "copies" }, ...copies),
    element("table", { "aria-label": "All columns" }, element("tbody", {}, ...rows)),
  );
  panel.hidden = false;
}
