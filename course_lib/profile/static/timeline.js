// What every rank did during a step, on one clock: a band for each rank, regions nested downwards,
// waits hatched across the band, and a thin lane below for messages under way. Built into every
// element with data-timeline from the JSON that it names (course_lib/profile/page.py makes it).
// Everything works from the keyboard, and what is selected is told in a live text line, so that the
// picture is not needed to read it. No library; all text goes in as text.
(() => {
  "use strict";

  const GUTTER = 92, AXIS = 24, LANE = 5, GAP = 11;
  const TOP_ROW = 22, ROW = 13, MOST_ROWS = 4;
  const INK = "#1a1a1a", FONT = "system-ui, 'DejaVu Sans', sans-serif";
  const HELP =
    "Drag moves, wheel zooms (after a click, or with Ctrl), Shift and drag zooms to a stretch. " +
    "Keys: ← → move, + − zoom, 0 all, ↑ ↓ rank, [ ] region (or p n), Enter zooms to it, Esc lets go.";

  function element(tag, attributes, parent, text) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    parent?.append(made);
    return made;
  }

  // Milliseconds with as many digits as the stretch that is shown needs.
  function milliseconds(ns, span) {
    const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.max(span, 1) / 1e6))));
    return (ns / 1e6).toFixed(digits);
  }
  const length = (ns) =>
    ns >= 1e6 ? `${(ns / 1e6).toPrecision(ns >= 1e9 ? 4 : 3)} ms` : `${(ns / 1e3).toPrecision(3)} µs`;

  // A pattern of slanted lines: waiting is told from working by more than a colour.
  function hatch(context, category) {
    const tile = element("canvas", { width: 8, height: 8 });
    const pen = tile.getContext("2d");
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, 8, 8);
    pen.strokeStyle = category.colour;
    pen.lineWidth = category.hatch === "/" ? 2.6 : 1.6;
    for (const shift of [-8, 0, 8]) {
      pen.beginPath();
      if (category.hatch === "/") {
        pen.moveTo(shift - 1, 9);
        pen.lineTo(shift + 9, -1);
      } else {
        pen.moveTo(shift - 1, -1);
        pen.lineTo(shift + 9, 9);
      }
      pen.stroke();
    }
    return context.createPattern(tile, "repeat");
  }

  // Regions come as one flat list of numbers: name, category, depth, start, length, how many.
  function unpack(flat) {
    const regions = [];
    for (let i = 0; i < flat.length; i += 6) {
      const [name, category, depth, start, ns, count] = flat.slice(i, i + 6);
      regions.push({ name, category, depth, start, stop: start + ns, count });
    }
    return regions;
  }

  class Timeline {
    constructor(root, data) {
      this.data = data;
      this.hidden = new Set();
      this.rank = 0;
      this.selected = null;
      this.build(root);
      this.setStep(0);
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    build(root) {
      const bar = element("div", { class: "tl-bar" }, root);
      const label = element("label", {}, bar, "Step ");
      this.picker = element("select", {}, label);
      this.data.steps.forEach((step, index) =>
        element("option", { value: index }, this.picker, `${step.number} (${length(step.ns)})`));
      this.picker.addEventListener("change", () => this.setStep(Number(this.picker.value)));
      for (const [text, title, act] of [
        ["−", "zoom out", () => this.zoom(1.5)],
        ["+", "zoom in", () => this.zoom(1 / 1.5)],
        ["All", "show the whole step", () => this.reset()],
      ]) {
        const button = element("button", { type: "button", title, "aria-label": title }, bar, text);
        button.addEventListener("click", act);
      }
      this.range = element("span", { class: "tl-range" }, bar);

      const legend = element("div", { class: "tl-legend", role: "group", "aria-label": "Show" }, root);
      this.data.categories.forEach((category, index) => {
        const attributes = { type: "button", "aria-pressed": "true", title: "show or hide" };
        const button = element("button", attributes, legend);
        const swatch = element("canvas", { width: 26, height: 14, "aria-hidden": "true" }, button);
        const pen = swatch.getContext("2d");
        pen.fillStyle = category.hatch ? hatch(pen, category) : category.colour;
        pen.fillRect(0, 0, 26, 14);
        pen.strokeStyle = "#555";
        pen.strokeRect(0.5, 0.5, 25, 13);
        pen.fillStyle = category.ink;
        pen.font = `bold 10px ${FONT}`;
        pen.textAlign = "center";
        pen.fillText(category.letter, 13, 11);
        button.append(category.label);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(index)) this.hidden.add(index);
          button.setAttribute("aria-pressed", String(!this.hidden.has(index)));
          this.draw();
        });
      });
      const lane = element("span", { class: "tl-lane" }, legend);
      element("i", {}, lane);
      lane.append("messages under way");

      const frame = element("div", { class: "tl-frame" }, root);
      this.canvas = element("canvas", {
        class: "tl-canvas", tabindex: "0", role: "application",
        "aria-label": "Timeline of all ranks. Arrow keys move and choose the rank, plus and minus " +
          "zoom, square brackets step through the regions; each is told below.",
      }, frame);
      this.tip = element("div", { class: "tl-tip", hidden: "" }, frame);
      this.live = element("p", { class: "tl-live", "aria-live": "polite" }, root);
      element("p", { class: "tl-help" }, root, HELP);
      this.pen = this.canvas.getContext("2d");
      this.fills = this.data.categories.map((c) => (c.hatch ? hatch(this.pen, c) : c.colour));
      this.canvas.addEventListener("keydown", (event) => this.key(event));
      this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      this.canvas.addEventListener("pointerdown", (event) => this.press(event));
      this.canvas.addEventListener("pointermove", (event) => this.move(event));
      this.canvas.addEventListener("pointerup", (event) => this.release(event));
      this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
      this.canvas.addEventListener("dblclick", () => this.reset());
      this.canvas.addEventListener("focus", () => this.draw());
      this.canvas.addEventListener("blur", () => this.draw());
    }

    setStep(index) {
      const step = this.data.steps[index];
      this.step = step;
      this.bands = step.ranks.map((band) => ({ ...band, regions: unpack(band.regions) }));
      let deepest = 0;
      for (const band of this.bands) {
        for (const region of band.regions) {
          region.row = Math.min(region.depth, MOST_ROWS - 1);
          region.wait = Boolean(this.data.categories[region.category].hatch);
          deepest = Math.max(deepest, region.row);
        }
        this.placeLabels(band.regions);
      }
      const small = this.bands.length > 16;
      this.topRow = small ? 14 : TOP_ROW;
      this.row = small ? 6 : ROW;
      this.bandHeight = this.topRow + deepest * this.row + 2 + LANE;
      this.canvas.style.height = `${AXIS + this.bands.length * (this.bandHeight + GAP)}px`;
      this.selected = null;
      this.view = [0, step.ns];
      this.draw();
      this.say(`Step ${step.number}: ${this.bands.length} ranks, ${length(step.ns)}.`);
    }

    // A region is named where no wait covers it, in the longest such place.
    placeLabels(regions) {
      const waits = regions.filter((region) => region.wait);
      let first = 0;
      for (const region of regions) {
        if (region.wait) continue;
        let at = region.start, best = [region.start, region.start];
        while (first < waits.length && waits[first].stop <= region.start) first++;
        for (let i = first; i < waits.length && waits[i].start < region.stop; i++) {
          if (waits[i].start - at > best[1] - best[0]) best = [at, waits[i].start];
          at = Math.max(at, waits[i].stop);
        }
        if (region.stop - at > best[1] - best[0]) best = [at, region.stop];
        region.free = best;
      }
    }

    get width() { return this.canvas.clientWidth - GUTTER - 18; }
    x(ns) { return GUTTER + ((ns - this.view[0]) / (this.view[1] - this.view[0])) * this.width; }
    time(x) { return this.view[0] + ((x - GUTTER) / this.width) * (this.view[1] - this.view[0]); }
    top(rank) { return AXIS + rank * (this.bandHeight + GAP); }

    box(rank, region) {
      const top = this.top(rank);
      if (region.wait) return [top, this.bandHeight - LANE - 2];
      if (region.row === 0) return [top, this.topRow];
      return [top + this.topRow + (region.row - 1) * this.row, this.row];
    }

    draw() {
      const scale = window.devicePixelRatio || 1;
      const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
      if (!width || !this.bands) return;
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      const pen = this.pen;
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      pen.clearRect(0, 0, width, height);
      this.drawAxis(pen, height);
      this.bands.forEach((band, rank) => this.drawRank(pen, band, rank));
      this.drawSelection(pen);
      if (this.brush) {
        pen.fillStyle = "rgba(0, 0, 0, 0.15)";
        pen.fillRect(Math.min(...this.brush), AXIS, Math.abs(this.brush[1] - this.brush[0]), height);
      }
      const [from, to] = this.view;
      const [a, b] = [milliseconds(from, to - from), milliseconds(to, to - from)];
      this.range.textContent = `${a} to ${b} ms of ${length(this.step.ns)}`;
    }

    drawAxis(pen, height) {
      const [from, to] = this.view;
      const about = ((to - from) / this.width) * 110;
      const ten = 10 ** Math.floor(Math.log10(about));
      const every = [1, 2, 5, 10].map((n) => n * ten).find((n) => n >= about);
      const digits = Math.max(0, -Math.floor(Math.log10(every / 1e6) + 1e-9));
      pen.font = `11px ${FONT}`;
      pen.textAlign = "center";
      for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
        const x = Math.round(this.x(at)) + 0.5;
        pen.strokeStyle = "#e4e4e4";
        pen.beginPath();
        pen.moveTo(x, AXIS - 6);
        pen.lineTo(x, height);
        pen.stroke();
        pen.fillStyle = "#444";
        pen.fillText((at / 1e6).toFixed(digits), x, 12);
      }
      pen.textAlign = "left";
      pen.fillStyle = "#444";
      pen.fillText("ms", 4, 12);
    }

    drawRank(pen, band, rank) {
      const top = this.top(rank), about = this.data.ranks[rank];
      if (rank === this.rank) {
        pen.fillStyle = "#eef3f8";
        pen.fillRect(0, top - 4, GUTTER - 4, this.bandHeight + 8);
        pen.fillStyle = "#0072B2";
        pen.fillRect(0, top - 4, 4, this.bandHeight + 8);
      }
      pen.textAlign = "left";
      pen.fillStyle = INK;
      pen.font = `bold 12px ${FONT}`;
      pen.fillText(`rank ${about.rank}`, 10, top + 12);
      pen.font = `10px ${FONT}`;
      pen.fillStyle = "#555";
      if (this.bandHeight > 30) pen.fillText(about.note, 10, top + 25, GUTTER - 18);

      pen.save();
      pen.beginPath();
      pen.rect(GUTTER, top - 2, this.width, this.bandHeight + 4);
      pen.clip();
      // The step itself, so that time without a region is seen to be a part of it.
      pen.fillStyle = "#f3f3f3";
      pen.fillRect(this.x(band.start), top, this.x(band.stop) - this.x(band.start), this.topRow);
      for (const waits of [false, true]) {
        for (const region of band.regions) {
          if (region.wait === waits) this.drawRegion(pen, rank, region);
        }
      }
      this.drawNames(pen, band, rank);
      pen.fillStyle = "#D55E00";
      const lane = top + this.bandHeight - LANE;
      for (let i = 0; i < band.network.length; i += 2) {
        const x = this.x(band.network[i]);
        const wide = Math.max(this.x(band.network[i] + band.network[i + 1]) - x, 1);
        pen.fillRect(x, lane, wide, LANE - 1);
      }
      pen.strokeStyle = "#cfcfcf";
      pen.strokeRect(this.x(band.start), lane - 0.5, this.x(band.stop) - this.x(band.start), LANE);
      pen.restore();
    }

    drawRegion(pen, rank, region) {
      if (this.hidden.has(region.category)) return;
      const x = this.x(region.start), wide = Math.max(this.x(region.stop) - x, 0.6);
      if (x > GUTTER + this.width || x + wide < GUTTER) return;
      const [y, high] = this.box(rank, region);
      pen.fillStyle = this.fills[region.category];
      pen.fillRect(x, y, wide, high);
      if (wide > 3) {
        pen.strokeStyle = region.row === 0 || region.wait ? "rgba(0,0,0,0.45)" : "rgba(0,0,0,0.25)";
        pen.lineWidth = 1;
        pen.strokeRect(x + 0.5, y + 0.5, wide - 1, high - 1);
      }
    }

    drawNames(pen, band, rank) {
      pen.textAlign = "center";
      for (const region of band.regions) {
        const category = this.data.categories[region.category];
        if (this.hidden.has(region.category) || region.wait) continue;
        const [from, to] = region.free;
        const left = Math.max(this.x(from), GUTTER), right = Math.min(this.x(to), GUTTER + this.width);
        const room = right - left - 4;
        if (room < 7) continue;
        const [y, high] = this.box(rank, region);
        const big = region.row === 0;
        if (!big && high < 10) continue;
        pen.font = big ? `bold 11px ${FONT}` : `10px ${FONT}`;
        const name = this.data.names[region.name];
        // The longest of the names that fits: all of it, or the letter and the micro-batch.
        const text = [big ? name.short : name.long, big ? category.letter : name.short]
          .find((each) => pen.measureText(each).width <= room);
        if (!text) continue;
        pen.fillStyle = category.ink;
        pen.fillText(text, (left + right) / 2, y + high / 2 + (big ? 4 : 3));
      }
    }

    drawSelection(pen) {
      if (!this.selected) return;
      const region = this.selected, [y, high] = this.box(this.rank, region);
      const x = Math.max(this.x(region.start), GUTTER - 2);
      const right = Math.min(this.x(region.stop), GUTTER + this.width + 2);
      if (right < GUTTER || x > GUTTER + this.width) return;
      pen.lineWidth = 4;
      pen.strokeStyle = "#ffffff";
      pen.strokeRect(x - 2, y - 2, Math.max(right - x, 2) + 4, high + 4);
      pen.lineWidth = 2;
      pen.strokeStyle = "#000000";
      pen.strokeRect(x - 2, y - 2, Math.max(right - x, 2) + 4, high + 4);
      pen.lineWidth = 1;
    }

    say(text) { this.live.textContent = text; }

    describe(rank, region) {
      const about = this.data.ranks[rank], name = this.data.names[region.name].long;
      const many = region.count > 1 ? `${region.count} short regions, the first ` : "";
      const span = region.stop - region.start;
      const [from, to] = [milliseconds(region.start, span), milliseconds(region.stop, span)];
      const label = this.data.categories[region.category].label;
      return `rank ${about.rank}: ${many}${name} (${label}), ${from} to ${to} ms, ${length(span)}`;
    }

    sayView() { this.say(`Showing ${this.range.textContent}.`); }

    show(from, to) {
      const whole = this.step.ns, span = Math.min(Math.max(to - from, 1000), whole);
      const start = Math.min(Math.max(from, 0), whole - span);
      this.view = [start, start + span];
      this.draw();
    }
    pan(share) {
      const by = share * (this.view[1] - this.view[0]);
      this.show(this.view[0] + by, this.view[1] + by);
    }
    zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
      this.show(around - (around - this.view[0]) * factor, around + (this.view[1] - around) * factor);
    }
    reset() { this.show(0, this.step.ns); }

    visible(rank) {
      return this.bands[rank].regions.filter((region) => !this.hidden.has(region.category));
    }

    // Select the next region of the rank; the first one, what begins in view.
    walk(by) {
      const regions = this.visible(this.rank);
      if (!regions.length) return this.say("No region is shown on this rank.");
      let index = regions.indexOf(this.selected);
      if (index < 0) {
        index = regions.findIndex((region) => region.start >= this.view[0]);
        index = index < 0 ? regions.length - 1 : index;
      } else {
        index = Math.min(Math.max(index + by, 0), regions.length - 1);
      }
      this.select(this.rank, regions[index]);
    }

    select(rank, region) {
      [this.rank, this.selected] = [rank, region];
      const [from, to] = this.view, span = to - from;
      if (region.start < from || region.start > to) {
        this.show(region.start - span / 4, region.start + (3 * span) / 4);
      }
      this.draw();
      this.say(this.describe(rank, region));
    }

    chooseRank(rank) {
      this.rank = Math.min(Math.max(rank, 0), this.bands.length - 1);
      const middle = this.selected ? this.selected.start : null;
      const here = middle === null ? undefined
        : this.visible(this.rank).filter((r) => r.start <= middle && r.stop > middle).pop();
      this.selected = null;
      if (here) return this.select(this.rank, here);
      this.draw();
      const about = this.data.ranks[this.rank];
      this.say(`rank ${about.rank}, ${about.note}, ${this.bands[this.rank].regions.length} regions`);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || (event.altKey && event.key.length > 1)) return;
      const view = (act) => () => { act(); this.sayView(); };
      const act = {
        ArrowLeft: view(() => this.pan(-0.2)),
        ArrowRight: view(() => this.pan(0.2)),
        "+": view(() => this.zoom(1 / 1.5)),
        "=": view(() => this.zoom(1 / 1.5)),
        "-": view(() => this.zoom(1.5)),
        "0": view(() => this.reset()),
        ArrowUp: () => this.chooseRank(this.rank - 1),
        ArrowDown: () => this.chooseRank(this.rank + 1),
        "[": () => this.walk(-1),
        "]": () => this.walk(1),
        p: () => this.walk(-1),
        n: () => this.walk(1),
        Enter: () => {
          if (!this.selected) return;
          const margin = (this.selected.stop - this.selected.start) / 4;
          this.show(this.selected.start - margin, this.selected.stop + margin);
        },
        Escape: () => { this.selected = null; this.draw(); this.say(""); },
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    }

    wheel(event) {
      // A page that scrolls under the pointer should go on scrolling, unless this is wanted.
      if (!event.ctrlKey && document.activeElement !== this.canvas) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return this.pan(event.deltaX / this.width);
      this.zoom(Math.exp(event.deltaY / 400), this.time(event.offsetX));
    }

    press(event) {
      if (event.button !== 0) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.drag = { x: event.offsetX, view: [...this.view], moved: false };
      if (event.shiftKey) this.brush = [event.offsetX, event.offsetX];
    }

    move(event) {
      if (this.drag) {
        const by = event.offsetX - this.drag.x;
        this.drag.moved ||= Math.abs(by) > 3;
        if (this.brush) {
          this.brush[1] = event.offsetX;
          this.draw();
        } else if (this.drag.moved) {
          const shift = (by / this.width) * (this.drag.view[1] - this.drag.view[0]);
          this.show(this.drag.view[0] - shift, this.drag.view[1] - shift);
        }
        this.tip.hidden = true;
        return;
      }
      const found = this.at(event.offsetX, event.offsetY);
      this.tip.hidden = !found;
      if (!found) return;
      this.tip.textContent = this.describe(found.rank, found.region);
      const left = Math.min(event.offsetX + 14, this.canvas.clientWidth - 330);
      this.tip.style.left = `${Math.max(left, 0)}px`;
      this.tip.style.top = `${event.offsetY + 16}px`;
    }

    release(event) {
      const brush = this.brush, drag = this.drag;
      this.brush = this.drag = null;
      if (brush && drag.moved) {
        this.show(this.time(Math.min(...brush)), this.time(Math.max(...brush)));
      } else if (drag && !drag.moved) {
        const found = this.at(event.offsetX, event.offsetY);
        if (found) this.select(found.rank, found.region);
      }
      this.draw();
    }

    // The innermost region under a point.
    at(x, y) {
      const rank = Math.floor((y - AXIS) / (this.bandHeight + GAP));
      if (x < GUTTER || rank < 0 || rank >= this.bands.length) return null;
      const now = this.time(x), slack = ((this.view[1] - this.view[0]) / this.width) * 1.5;
      let found = null;
      for (const region of this.visible(rank)) {
        if (region.start > now + slack) break;
        if (region.stop < now - slack) continue;
        const [top, high] = this.box(rank, region);
        if (y >= top && y < top + high && (region.wait || !found?.wait)) found = region;
      }
      return found && { rank, region: found };
    }
  }

  for (const root of document.querySelectorAll("[data-timeline]")) {
    const data = JSON.parse(document.getElementById(root.dataset.timeline).textContent);
    root.timeline = new Timeline(root, data);
  }
})();
