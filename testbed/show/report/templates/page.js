"use strict";
// Shows what is recorded of the calls whose field in the matrix was chosen: #call-NAME.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const view = document.getElementById("call");
  const matrix = document.getElementById("matrix");
  const text = (index) => data.words[index];
  const texts = (indices) => indices.map(text);
  const DRAWN = new Set(["svg", "rect", "line", "path", "text", "title"]);

  function make(name, attributes, ...children) {
    const element = DRAWN.has(name)
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  const facts = (pairs) => make("dl", { class: "facts" }, ...pairs.flatMap(([what, how]) =>
    [make("dt", {}, what), make("dd", {}, how)]));

  function table(caption, heads, rows) {
    const number = { class: "number" };
    const head = heads.map((word, i) => make("th", { scope: "col", ...(i ? number : {}) }, word));
    const body = rows.map(([first, ...rest]) => make("tr", {},
      make("th", { scope: "row" }, first), ...rest.map((word) => make("td", number, word))));
    return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
      make("table", {}, make("caption", {}, caption),
        make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
  }

  function player(label, index) {
    const src = "data:audio/ogg;base64," + data.sounds[index];
    return make("figure", {}, make("figcaption", {}, label),
      make("audio", { controls: "", preload: "none", "aria-label": label, src }));
  }

  function players(sound) {
    if (!sound) return make("p", { class: "faint" }, "There is no sound of these calls here.");
    const at = `seconds ${sound.from_s} to ${sound.from_s + data.seconds} of the speech`;
    return make("div", { class: "players" },
      player(`What was said, ${at}`, sound.said),
      player(`What ${data.sides[sound.side]} heard of it, seed ${sound.seed}`, sound.heard));
  }

  // In units of the drawing.
  const LEFT = 130, WIDTH = 760, BAR = 44, ROW = 62, TOP = 40;

  // Two rows of bars, one bar a second: what was missing from what each side heard.
  function timeline(cell, marks) {
    const sides = Object.keys(cell.lost);
    const end = Math.max(cell.ended_s, 1);
    const x = (second) => LEFT + (WIDTH - LEFT - 14) * second / end;
    const foot = TOP + sides.length * ROW;
    const told = sides.map((side) => `${data.sides[side]}: ${cell.lost[side][1].join(", ")}`);
    const drawing = make("svg", {
      class: "timeline", viewBox: `0 0 ${WIDTH} ${foot + 34}`, role: "img",
      "aria-label": `Percent lost in each second of what is heard by ${told.join("; ")}`,
    });
    const line = (from, to, low, high, kind) =>
      drawing.append(make("line", { class: kind, x1: from, x2: to, y1: low, y2: high }));
    const write = (at, y, anchor, words) =>
      drawing.append(make("text", { x: at, y, "text-anchor": anchor }, words));
    sides.forEach((side, place) => {
      const [first, shares] = cell.lost[side];
      const bottom = TOP + place * ROW + BAR;
      write(0, bottom - 24, "start", `lost of what`);
      write(0, bottom - 9, "start", `${data.sides[side]} hears`);
      write(LEFT - 6, bottom - BAR + 9, "end", "100 %");
      write(LEFT - 6, bottom, "end", "0");
      line(LEFT, x(end), bottom, bottom, "axis");
      line(LEFT, x(end), bottom - BAR, bottom - BAR, "axis");
      if (shares.every((share) => share === 0)) {
        write(LEFT + 8, bottom - BAR / 2 + 4, "start", "nothing was lost");
      }
      shares.forEach((share, i) => {
        const from = x(first + i);
        const width = x(Math.min(first + i + 1, end)) - from - 1;
        if (share === 0 || width <= 0) return;
        const high = BAR * share / 100;
        drawing.append(make("rect", { class: side, x: from, y: bottom - high, width, height: high },
          make("title", {}, `second ${first + i}: ${share} % lost`)));
      });
    });
    const step = [1, 2, 5, 10, 20, 60, 120, 300].find((s) => end / s <= 12) || 600;
    for (let s = 0; s <= end; s += step) write(x(s), foot + 2, "middle", String(s));
    write(LEFT, foot + 20, "start", "seconds since dialling; numbered: what the middlebox did");
    let free = 0;
    marks.forEach((mark, i) => {
      const at = x(Math.min(Math.max(mark.at, 0), end));
      line(at, at, TOP - 12, foot - ROW + BAR, "mark");
      drawing.append(make("path", { class: "event", d: `M${at - 4} ${TOP - 19}h8l-4 7z` },
        make("title", {}, mark.what)));
      if (at < free) return;
      write(at, TOP - 23, "middle", String(i + 1));
      free = at + 18;
    });
    return drawing;
  }

  // What happened within a tenth of a second is one mark.
  function marked(cell) {
    const marks = [];
    for (const [at, flow, event] of cell.events) {
      const what = `${text(event)} (${text(flow)})`;
      const last = marks[marks.length - 1];
      if (last && at - last.at < 0.1) last.what += `; ${what}`;
      else marks.push({ at, what });
    }
    return marks;
  }

  function call(cell) {
    const marks = marked(cell);
    const rows = Object.entries(cell.directions).map(([side, numbers]) =>
      [data.sides[side], ...texts(numbers)]);
    return make("article", {},
      make("h4", {}, `Seed ${cell.seed}: ${[text(cell.verdict), ...texts(cell.like)].join(", ")}`),
      make("p", { class: "story" }, text(cell.story)),
      facts([
        ["Why", texts(cell.why).join(", ") || "nothing kept it from being good"],
        ["Set up", cell.set_up_s === null ? "never" : `after ${cell.set_up_s.toFixed(2)} s`],
        ["Ended", `${cell.ended_s.toFixed(1)} s after dialling`],
        ["Waits for answers", text(cell.answers)],
        ["Chat beside it", text(cell.chat)],
        ["Other traffic", text(cell.traffic)],
        ["Rules that matched", texts(cell.rules).join("; ") || "none"],
      ]),
      rows.length ? table(`What each side heard, seed ${cell.seed}`, ["heard by", ...data.heads], rows) : null,
      Object.keys(cell.lost).length ? make("div",
        { class: "scroll", role: "region", "aria-label": `Second by second, seed ${cell.seed}`, tabindex: "0" },
        timeline(cell, marks)) : null,
      marks.length ? make("details", {},
        make("summary", {}, `What the middlebox did (${marks.length})`),
        make("ol", {}, ...marks.map((mark) =>
          make("li", {}, `${mark.at.toFixed(2)} s: ${mark.what}`))),
        cell.more ? make("p", {}, `and ${cell.more} events more, in its events.log`) : null) : null);
  }

  function show(kind, field) {
    const [messenger, transport, censor] = texts(kind.title);
    const way = transport === "direct" ? "direct" : `through ${transport}`;
    const back = make("a", { href: field.hash }, "Back to its field in the table");
    back.addEventListener("click", (event) => {
      event.preventDefault();
      field.focus();
      field.scrollIntoView({ block: "center" });
    });
    view.replaceChildren(
      make("h3", { id: "call-title" }, `${messenger}, ${way}, under ${censor}`),
      players(kind.sound),
      facts(kind.facts.map(texts)),
      ...kind.cells.map(call),
      make("p", { class: "hint" }, back));
    view.hidden = false;
    view.focus({ preventScroll: true });
    view.scrollIntoView({ block: "start" });
  }

  function route() {
    const kind = location.hash.startsWith("#call-") ? data.kinds[location.hash.slice(6)] : undefined;
    if (!kind) return;
    for (const field of matrix.querySelectorAll("a")) {
      if (field.hash === location.hash) {
        field.setAttribute("aria-current", "true");
        show(kind, field);
      } else {
        field.removeAttribute("aria-current");
      }
    }
  }

  addEventListener("hashchange", route);
  // Choosing the field that is shown already does not change the address.
  matrix.addEventListener("click", (event) => {
    const field = event.target.closest("a");
    if (field && field.hash === location.hash) route();
  });
  route();
})();
