// Stands in for Google Charts, which the profiler's page would fetch from the internet: the part of
// its interface that torch-tb-profiler 0.4.3 uses, drawn as SVG (Timeline: on a canvas, as it may
// have ten thousand bars). Series get Okabe and Ito's colours, which colour-blind people can tell
// apart, whatever colours the page asks for. All text goes in as text, so that no name in a trace
// can become HTML; only the plugin's own cells and tooltips that ask for HTML are HTML.
(() => {
  "use strict";

  const COLOURS = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
  ];
  const colour = (i) => COLOURS[i % COLOURS.length];
  const FONT = "12px Roboto, 'DejaVu Sans', sans-serif";

  // A cell is a value, or {v: value, f: how to show it}.
  const isPair = (cell) => cell !== null && typeof cell === "object" && "v" in cell;
  const valueOf = (cell) => (isPair(cell) ? cell.v : cell);
  const round = (x) =>
    x.toLocaleString("en", {
      maximumSignificantDigits: Math.abs(x) < 1e4 ? 4 : 21,
      maximumFractionDigits: 2,
    });
  const show = (cell) => {
    if (isPair(cell) && cell.f !== undefined) return String(cell.f);
    const value = valueOf(cell);
    if (value === null || value === undefined) return "";
    return typeof value === "number" ? round(value) : String(value);
  };
  // The page names some axes by their unit alone.
  const axisTitle = (title) => (/^[num]?s$/.test(title || "") ? `Time (${title})` : title || "");

  class DataTable {
    columns = [];
    rows = [];
    properties = new Map();
    addColumn(column, label) {
      const given = typeof column === "object" ? column : { type: column, label };
      this.columns.push({ ...given, label: given.label ?? given.id ?? "" });
    }
    addRow(row) {
      this.rows.push(row);
    }
    addRows(rows) {
      for (const row of rows) this.rows.push(row);
    }
    setProperty(row, column, name, value) {
      this.properties.set(`${row} ${column} ${name}`, value);
    }
    getProperty(row, column, name) {
      return this.properties.get(`${row} ${column} ${name}`);
    }
    // The columns with numbers to draw, each with the tooltip column that follows it, if any.
    series() {
      return this.columns
        .map(({ label, role }, column) => ({ label, role, column }))
        .filter(({ role, column }) => column > 0 && role !== "tooltip")
        .map((series, index) => {
          const next = this.columns[series.column + 1];
          return { ...series, index, tooltip: next?.role === "tooltip" ? series.column + 1 : null };
        });
    }
  }

  function arrayToDataTable([header, ...rows]) {
    const table = new DataTable();
    for (const label of header) table.addColumn(typeof label === "object" ? label : { label });
    table.addRows(rows);
    return table;
  }

  function html(tag, style, parent, text) {
    const element = document.createElement(tag);
    element.style.cssText = style;
    if (text !== undefined) element.textContent = text;
    return parent ? parent.appendChild(element) : element;
  }

  function svg(tag, attributes, parent, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return parent ? parent.appendChild(element) : element;
  }

  // Round numbers from low to high, about `count` of them.
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
      found.push(i * step + 0); // + 0: no -0
    return found;
  }

  class Chart {
    constructor(element) {
      this.element = element;
      this.listeners = {};
      this.selection = [];
    }
    draw(table, options) {
      this.table = table;
      this.options = options || {};
      this.element.replaceChildren();
      this.element.style.position = "relative";
      this.width = this.element.clientWidth || 600;
      this.height = parseInt(this.options.height) || 300;
      this.paint();
      this.trigger("ready", {});
    }
    clearChart() {
      this.element.replaceChildren();
    }
    trigger(name, event) {
      for (const listen of this.listeners[name] || []) listen(event);
    }
    getSelection() {
      return this.selection;
    }
    setSelection(selection) {
      this.selection = selection || [];
    }
    select(row, column) {
      this.selection = [{ row, column }];
      this.trigger("select", {});
    }

    tip(event, text, asHtml) {
      this.untip();
      const style =
        "position:absolute;z-index:9;pointer-events:none;max-width:420px;padding:6px 8px;" +
        `background:#fff;border:1px solid #888;font:${FONT};white-space:pre-line;` +
        "overflow-wrap:anywhere";
      this.bubble = html("div", style, this.element);
      if (asHtml) this.bubble.innerHTML = text;
      else this.bubble.textContent = text;
      const area = this.element.getBoundingClientRect();
      const x = event.clientX - area.left;
      const { offsetWidth: wide, offsetHeight: high } = this.bubble;
      const right = x + 12 + wide <= area.width;
      this.bubble.style.left = `${right ? x + 12 : Math.max(0, x - 12 - wide)}px`;
      this.bubble.style.top = `${Math.max(0, event.clientY - area.top - high - 8)}px`;
    }
    untip() {
      this.bubble?.remove();
      this.bubble = null;
    }
    tipOf(event, row, series) {
      const cells = this.table.rows[row];
      if (series.tooltip !== null && cells[series.tooltip]) {
        const asHtml = this.table.columns[series.tooltip].p?.html;
        this.tip(event, String(cells[series.tooltip]), asHtml);
        return;
      }
      const first = this.table.columns[0].label;
      const head = first ? `${first}: ${show(cells[0])}` : show(cells[0]);
      this.tip(event, `${head}\n${series.label}: ${show(cells[series.column])}`);
    }
  }

  // Charts with axes: a subclass says where x and y lie and draws between them.
  class Axes extends Chart {
    paint() {
      this.series = this.table.series();
      this.secondary = this.series.filter(
        ({ index }) => this.options.series?.[index]?.targetAxisIndex === 1,
      );
      this.left = 84;
      this.top = this.options.title ? 30 : 12;
      this.right = this.width - (this.secondary.length ? 84 : 20);
      this.bottom = this.height - 74;
      const look = "display:block;user-select:none";
      this.svg = svg(
        "svg",
        { width: this.width, height: this.height, style: `font:${FONT};${look}` },
        this.element,
      );
      if (this.options.title) {
        svg("text", { x: this.left, y: 18, "font-weight": "bold" }, this.svg, this.options.title);
      }
      const primary = this.series.filter((series) => !this.secondary.includes(series));
      this.y = this.verticalAxis(
        primary,
        this.left,
        -1,
        this.options.vAxes?.[0] || this.options.vAxis,
      );
      this.y2 = this.secondary.length
        ? this.verticalAxis(this.secondary, this.right, 1, this.options.vAxes?.[1])
        : this.y;
      this.horizontalAxis();
      this.legend();
      this.marks();
    }
    scaleOf(series) {
      return this.secondary.includes(series) ? this.y2 : this.y;
    }
    topOf(cells, series) {
      // of the highest mark in a row
      const values = series.map(({ column }) => Number(valueOf(cells[column])) || 0);
      return this.stacked() ? values.reduce((a, b) => a + Math.max(b, 0), 0) : Math.max(...values);
    }
    stacked() {
      return Boolean(this.options.isStacked);
    }
    verticalAxis(series, x, side, axis) {
      let high = 0,
        low = 0;
      for (const cells of this.table.rows) {
        high = Math.max(high, this.topOf(cells, series));
        for (const { column } of series) low = Math.min(low, Number(valueOf(cells[column])) || 0);
      }
      if (high === low) high = low + 1;
      const scale = (value) =>
        this.bottom - ((value - low) / (high - low)) * (this.bottom - this.top - 6);
      for (const tick of ticks(low, high, 5)) {
        const y = scale(tick);
        if (side < 0)
          svg("line", { x1: this.left, x2: this.right, y1: y, y2: y, stroke: "#ddd" }, this.svg);
        svg(
          "text",
          { x: x + side * 6, y: y + 4, "text-anchor": side < 0 ? "end" : "start" },
          this.svg,
          round(tick),
        );
      }
      const middle = (this.top + this.bottom) / 2,
        at = x + side * 68;
      svg(
        "text",
        { x: at, y: middle, "text-anchor": "middle", transform: `rotate(-90 ${at} ${middle})` },
        this.svg,
        axisTitle(axis?.title || "us"),
      ); // the comparison of two traces names no unit
      return scale;
    }
    // Categories, unless a subclass knows better: each row has a band of its own.
    horizontalAxis() {
      const { rows } = this.table;
      this.band = (this.right - this.left) / Math.max(rows.length, 1);
      const every = Math.ceil((70 * rows.length) / (this.right - this.left));
      rows.forEach((cells, row) => {
        if (row % every) return;
        const label = show(cells[0]),
          room = Math.max(8, Math.floor((every * this.band) / 7));
        svg(
          "text",
          { x: this.left + (row + 0.5) * this.band, y: this.bottom + 18, "text-anchor": "middle" },
          this.svg,
          label.length > room ? `${label.slice(0, room - 1)}…` : label,
        );
      });
      this.horizontalTitle();
    }
    horizontalTitle() {
      const title = this.options.hAxis?.title || this.table.columns[0].label;
      svg(
        "line",
        { x1: this.left, x2: this.right, y1: this.bottom, y2: this.bottom, stroke: "#333" },
        this.svg,
      );
      svg(
        "text",
        { x: (this.left + this.right) / 2, y: this.bottom + 38, "text-anchor": "middle" },
        this.svg,
        axisTitle(title),
      );
    }
    legend() {
      let x = 12;
      for (const { label, index } of this.series) {
        svg(
          "rect",
          { x, y: this.height - 18, width: 12, height: 12, fill: colour(index) },
          this.svg,
        );
        const text = svg("text", { x: x + 17, y: this.height - 8 }, this.svg, label);
        x += 32 + text.getComputedTextLength();
      }
    }
    hover(mark, row, series) {
      mark.addEventListener("mousemove", (event) => this.tipOf(event, row, series));
      mark.addEventListener("mouseleave", () => this.untip());
      mark.addEventListener("click", () => this.select(row, series.column));
    }
  }

  // Bars; a series that the options call a line is drawn as one above them.
  class ColumnChart extends Axes {
    marks() {
      const isLine = ({ index }) => this.options.series?.[index]?.type === "line";
      const bars = this.series.filter((series) => !isLine(series));
      this.table.rows.forEach((cells, row) => {
        const share = this.fill() * (this.stacked() ? 1 : 1 / bars.length);
        let base = 0;
        bars.forEach((series, place) => {
          const value = Number(valueOf(cells[series.column])) || 0;
          const from = this.stacked() ? base : 0;
          const y = this.scaleOf(series);
          const ends = [y(from), y(from + value)].sort((a, b) => a - b);
          const x =
            this.left +
            this.band * (row + (1 - this.fill()) / 2 + (this.stacked() ? 0 : place * share));
          const mark = svg(
            "rect",
            {
              x,
              y: ends[0],
              width: this.band * share,
              height: ends[1] - ends[0],
              fill: colour(series.index),
            },
            this.svg,
          );
          this.hover(mark, row, series);
          base += value;
        });
      });
      for (const series of this.series.filter(isLine)) {
        const at = this.table.rows.map((cells, row) => [
          this.left + (row + 0.5) * this.band,
          this.scaleOf(series)(Number(valueOf(cells[series.column])) || 0),
        ]);
        svg(
          "polyline",
          { points: at.join(" "), fill: "none", stroke: colour(series.index), "stroke-width": 2 },
          this.svg,
        );
        at.forEach(([cx, cy], row) => {
          this.hover(
            svg("circle", { cx, cy, r: 4, fill: colour(series.index) }, this.svg),
            row,
            series,
          );
        });
      }
    }
    fill() {
      return 0.7;
    } // of a row's band
  }

  // A stepped area is level over each row's band: stacked bars without gaps.
  class SteppedAreaChart extends ColumnChart {
    fill() {
      return this.stacked() ? 0.98 : 1;
    }
  }

  class LineChart extends Axes {
    paint() {
      const xs = this.table.rows.map((cells) => Number(valueOf(cells[0])));
      this.whole = xs.length ? [xs[0], xs[xs.length - 1]] : [0, 1];
      this.range ??= this.whole;
      super.paint();
      this.overlay = svg("g", {}, this.svg);
      this.listen();
    }
    stacked() {
      return false;
    } // Google's line chart does not stack either, whatever the page asks
    x(value) {
      const [from, to] = this.range;
      return this.left + ((value - from) / (to - from || 1)) * (this.right - this.left);
    }
    valueAt(x) {
      const [from, to] = this.range;
      return from + ((x - this.left) / (this.right - this.left)) * (to - from);
    }
    horizontalAxis() {
      for (const tick of ticks(...this.range, Math.max(2, (this.right - this.left) / 110))) {
        svg(
          "text",
          { x: this.x(tick), y: this.bottom + 18, "text-anchor": "middle" },
          this.svg,
          tick.toLocaleString("en", { maximumFractionDigits: 6 }),
        );
      }
      this.horizontalTitle();
    }
    marks() {
      const clip = `plot${Math.random()}`;
      svg(
        "rect",
        { x: this.left, y: 0, width: this.right - this.left, height: this.height },
        svg("clipPath", { id: clip }, this.svg),
      );
      for (const { column, index } of this.series) {
        const points = this.table.rows
          .filter((cells) => Number.isFinite(valueOf(cells[column])))
          .map((cells) => [this.x(valueOf(cells[0])), this.y(valueOf(cells[column]))])
          .map((place) => place.map((pixels) => pixels.toFixed(2)).join(","));
        svg(
          "polyline",
          {
            points: points.join(" "),
            fill: "none",
            stroke: colour(index),
            "stroke-width": 2,
            "clip-path": `url(#${clip})`,
          },
          this.svg,
        );
      }
    }
    // The page asks to zoom by dragging and to reset by the right button. It finds out by watching
    // this element for changes and asking for the range that is shown.
    listen() {
      const place = (event) => {
        const x = event.clientX - this.svg.getBoundingClientRect().left;
        return Math.min(Math.max(x, this.left), this.right);
      };
      const zoom = (range) => {
        this.range = range;
        this.untip();
        this.element.replaceChildren();
        this.paint();
      };
      let start = null;
      this.svg.addEventListener("mousedown", (event) => {
        if (this.options.explorer && event.button === 0) start = place(event);
      });
      this.svg.addEventListener("mousemove", (event) => {
        if (start === null) return this.nearest(event, place(event));
        const end = place(event);
        this.overlay.replaceChildren();
        svg(
          "rect",
          {
            x: Math.min(start, end),
            width: Math.abs(end - start),
            y: this.top,
            height: this.bottom - this.top,
            fill: "#0072B2",
            "fill-opacity": 0.2,
          },
          this.overlay,
        );
      });
      this.svg.addEventListener("mouseup", (event) => {
        if (start === null) return;
        const ends = [start, place(event)].sort((a, b) => a - b);
        start = null;
        this.overlay.replaceChildren();
        if (ends[1] - ends[0] > 5) zoom(ends.map((x) => this.valueAt(x)));
      });
      this.svg.addEventListener("mouseleave", () => {
        start = null;
        this.untip();
        this.setSelection(this.selection);
      });
      this.svg.addEventListener("contextmenu", (event) => {
        if (!this.options.explorer) return;
        event.preventDefault();
        zoom(this.whole);
      });
    }
    nearest(event, x) {
      const { rows } = this.table;
      if (!rows.length || !this.series.length) return;
      const wanted = this.valueAt(x);
      let low = 0,
        high = rows.length - 1; // rows are sorted by x
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (valueOf(rows[middle][0]) < wanted) low = middle;
        else high = middle;
      }
      const row = wanted - valueOf(rows[low][0]) < valueOf(rows[high][0]) - wanted ? low : high;
      this.mark(this.series.map(({ column }) => ({ row, column })));
      const all = [{ label: this.table.columns[0].label, column: 0 }, ...this.series];
      this.tip(
        event,
        all.map((each) => `${each.label}: ${show(rows[row][each.column])}`).join("\n"),
      );
    }
    setSelection(selection) {
      super.setSelection(selection);
      this.mark(this.selection);
    }
    mark(places) {
      this.overlay?.replaceChildren();
      for (const { row, column } of places) {
        const cells = this.table.rows[row];
        const cx = this.x(valueOf(cells[0])),
          cy = this.y(valueOf(cells[column]));
        if (cx < this.left - 1 || cx > this.right + 1) continue;
        svg(
          "circle",
          { cx, cy, r: 5, fill: "#fff", stroke: "#000", "stroke-width": 2 },
          this.overlay,
        );
      }
    }
    getChartLayoutInterface() {
      return {
        getChartAreaBoundingBox: () => ({
          left: this.left,
          top: this.top,
          width: this.right - this.left,
          height: this.bottom - this.top,
        }),
        getHAxisValue: (x) => this.valueAt(x),
        getXLocation: (value) => this.x(value),
      };
    }
  }

  class PieChart extends Chart {
    paint() {
      const { rows } = this.table;
      const radius = Math.max(20, Math.min(this.height / 2 - 24, this.width / 4));
      const cx = radius + 12,
        cy = this.height / 2,
        hole = radius * (this.options.pieHole || 0);
      const drawing = svg(
        "svg",
        { width: this.width, height: this.height, style: `font:${FONT};display:block` },
        this.element,
      );
      if (this.options.title)
        svg("text", { x: 6, y: 14, "font-weight": "bold" }, drawing, this.options.title);
      const sizes = rows.map((cells) => Math.max(0, Number(valueOf(cells[1])) || 0));
      const total = sizes.reduce((a, b) => a + b, 0) || 1;
      const room = Math.floor((this.width - 2 * cx - 22) / 7); // letters of a legend's line
      const lines = Math.floor((this.height - 12) / 18);
      let angle = -Math.PI / 2;
      rows.forEach((cells, row) => {
        const share = sizes[row] / total,
          percent = `${(100 * share).toFixed(1)} %`;
        // A whole circle's two ends would meet, and the arc between them would be nothing.
        const end = angle + Math.min(share, 0.99999) * 2 * Math.PI;
        const at = (r, a) => `${cx + r * Math.cos(a)} ${cy + r * Math.sin(a)}`;
        const large = share > 0.5 ? 1 : 0;
        const d =
          `M${at(radius, angle)}A${radius} ${radius} 0 ${large} 1 ${at(radius, end)}` +
          `L${at(hole, end)}A${hole} ${hole} 0 ${large} 0 ${at(hole, angle)}Z`;
        // The second round of colours is paler, so that no two of sixteen slices look the same.
        const look = { fill: colour(row), "fill-opacity": row < COLOURS.length ? 1 : 0.45 };
        const slice = svg("path", { d, stroke: "#fff", ...look }, drawing);
        const text =
          this.options.tooltip?.text === "percentage"
            ? `${show(cells[0])}\n${percent}`
            : `${show(cells[0])}\n${show(cells[1])} (${percent})`;
        slice.addEventListener("mousemove", (event) => {
          if (!this.bubble) this.trigger("onmouseover", { row });
          this.tip(event, text);
        });
        slice.addEventListener("mouseleave", () => {
          this.untip();
          this.trigger("onmouseout", { row });
        });
        slice.addEventListener("click", () => this.select(row, null));
        if (share > 0.06) {
          const middle = (angle + end) / 2,
            r = (radius + hole) / 2;
          svg(
            "text",
            {
              x: cx + r * Math.cos(middle),
              y: cy + r * Math.sin(middle) + 4,
              "text-anchor": "middle",
              "pointer-events": "none",
            },
            drawing,
            `${Math.round(100 * share)} %`,
          );
        }
        angle = end;
        if (this.options.legend === "none" || row >= lines || room < 4) return;
        const y = cy + (row - (Math.min(rows.length, lines) - 1) / 2) * 18;
        svg("rect", { x: 2 * cx, y: y - 6, width: 12, height: 12, ...look }, drawing);
        const label =
          row === lines - 1 && rows.length > lines ? `… ${rows.length - row} more` : show(cells[0]);
        svg(
          "text",
          { x: 2 * cx + 17, y: y + 4 },
          drawing,
          label.length > room ? `${label.slice(0, room - 1)}…` : label,
        );
      });
    }
  }

  class Table extends Chart {
    paint() {
      const { columns, rows } = this.table;
      this.order = rows.map((_, row) => row);
      this.page = 0;
      const shown = columns
        .map((column, index) => ({ ...column, index }))
        .filter(({ role }) => !role);
      const sort = (column, ascending) => {
        this.sorted = { column, ascending };
        const key = (row) => valueOf(rows[row][column]);
        this.order.sort(
          (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (ascending ? 1 : -1),
        );
        this.page = 0;
      };
      const wanted = this.options.sortColumn;
      if (Number.isInteger(wanted) && wanted >= 0)
        sort(wanted, this.options.sortAscending !== false);
      const draw = () => {
        this.element.replaceChildren();
        const grid = html(
          "table",
          `width:100%;border-collapse:collapse;font:${FONT}`,
          this.element,
        );
        const head = html("tr", "background:#eee;cursor:pointer", html("thead", "", grid));
        for (const { label, index } of shown) {
          const arrow = this.sorted?.column === index ? (this.sorted.ascending ? " ▲" : " ▼") : "";
          const cell = html(
            "th",
            "padding:4px 8px;text-align:left;border:1px solid #ddd",
            head,
            label + arrow,
          );
          cell.addEventListener("click", () => {
            sort(index, this.sorted?.column === index ? !this.sorted.ascending : true);
            draw();
          });
        }
        const body = html("tbody", "", grid);
        const size = this.options.page === "enable" ? this.options.pageSize || 10 : rows.length;
        for (const row of this.order.slice(this.page * size, (this.page + 1) * size)) {
          const chosen = this.selection.some((selected) => selected.row === row);
          const line = html("tr", chosen ? "background:#cfe6f5" : "", body);
          line.addEventListener("click", () => {
            this.selection = chosen ? [] : [{ row, column: null }];
            draw();
            this.trigger("select", {});
          });
          for (const { index, type } of shown) {
            const align = type === "number" ? "right" : "left";
            const cell = html(
              "td",
              `padding:4px 8px;border:1px solid #ddd;text-align:${align}`,
              line,
            );
            if (this.options.allowHtml && type !== "number")
              cell.innerHTML = show(rows[row][index]);
            else cell.textContent = show(rows[row][index]);
            cell.style.cssText += `;${this.table.getProperty(row, index, "style") || ""}`;
          }
        }
        const pages = Math.ceil(rows.length / size);
        if (pages < 2) return;
        const turn = html("div", `padding:6px;font:${FONT}`, this.element);
        const button = (text, by) => {
          const key = html("button", "margin-right:8px", turn, text);
          key.disabled = this.page + by < 0 || this.page + by >= pages;
          key.addEventListener("click", () => {
            this.page += by;
            draw();
          });
        };
        button("◀", -1);
        button("▶", 1);
        html("span", "", turn, `page ${this.page + 1} of ${pages}`);
      };
      this.redraw = draw;
      draw();
    }
    setSelection(selection) {
      super.setSelection(selection);
      this.redraw?.();
    }
  }

  // One row of bars for each different first cell; columns: row, name, tooltip, start, end (ms).
  // Drag to zoom in, right button to see all again.
  class Timeline extends Chart {
    paint() {
      const { rows } = this.table;
      const labels = [...new Set(rows.map((cells) => cells[0]))];
      const first = rows.reduce((least, cells) => Math.min(least, cells[3]), Infinity);
      const bars = rows.map(([label, name, tooltip, start, end]) => ({
        lane: labels.indexOf(label),
        name,
        tooltip,
        start: start - first,
        end: end - first,
      }));
      const whole = [0, bars.reduce((most, bar) => Math.max(most, bar.end), 1e-3)];
      let range = whole,
        start = null;
      const lane = 22,
        left = 84,
        width = this.width - left - 12,
        bottom = labels.length * lane;
      const names = [...new Set(bars.map((bar) => bar.name))];
      const place = new Map(names.map((name, index) => [name, index]));
      this.element.style.height = `${bottom + 50}px`;
      const canvas = html(
        "canvas",
        `display:block;width:${this.width}px;height:${bottom + 50}px`,
        this.element,
      );
      const ratio = window.devicePixelRatio || 1;
      canvas.width = this.width * ratio;
      canvas.height = (bottom + 50) * ratio;
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const x = (time) => left + ((time - range[0]) / (range[1] - range[0])) * width;
      const time = (at) => range[0] + ((at - left) / width) * (range[1] - range[0]);
      const draw = (band) => {
        pen.clearRect(0, 0, this.width, bottom + 50);
        pen.font = FONT;
        pen.textAlign = "left";
        pen.save();
        pen.beginPath();
        pen.rect(left, 0, width, bottom);
        pen.clip();
        for (const bar of bars) {
          const from = x(bar.start),
            long = Math.max(0.5, x(bar.end) - from);
          if (from > left + width || from + long < left) continue;
          pen.fillStyle = colour(place.get(bar.name));
          pen.fillRect(from, bar.lane * lane + 2, long, lane - 4);
          const visible = Math.max(from, left),
            room = from + long - visible - 8;
          if (room < 20) continue;
          pen.fillStyle = ["#0072B2", "#009E73", "#D55E00"].includes(pen.fillStyle.toUpperCase())
            ? "#fff"
            : "#000";
          const letters = Math.floor(room / 7);
          pen.fillText(
            bar.name.length > letters ? `${bar.name.slice(0, letters - 1)}…` : bar.name,
            visible + 4,
            bar.lane * lane + 15,
          );
        }
        if (band) {
          pen.fillStyle = "rgba(0, 114, 178, 0.2)";
          pen.fillRect(Math.min(...band), 0, Math.abs(band[1] - band[0]), bottom);
        }
        pen.restore();
        pen.fillStyle = "#000";
        labels.forEach((label, index) => pen.fillText(`level ${label}`, 8, index * lane + 15));
        pen.textAlign = "center";
        for (const tick of ticks(...range, Math.max(2, width / 110))) {
          pen.fillText(
            tick.toLocaleString("en", { maximumFractionDigits: 6 }),
            x(tick),
            bottom + 16,
          );
        }
        pen.fillText(
          "Time since the first bar (ms); drag to zoom, right button to see all",
          left + width / 2,
          bottom + 38,
        );
      };
      const at = (event) => event.clientX - canvas.getBoundingClientRect().left;
      const inside = (event) => Math.min(Math.max(at(event), left), left + width);
      canvas.addEventListener("mousedown", (event) => {
        if (event.button === 0) start = inside(event);
      });
      canvas.addEventListener("mousemove", (event) => {
        if (start !== null) return draw([start, inside(event)]);
        const row = Math.floor((event.clientY - canvas.getBoundingClientRect().top) / lane);
        const now = time(at(event)),
          slack = (range[1] - range[0]) / width;
        const bar = bars.find(
          (b) => b.lane === row && b.start - slack <= now && now <= b.end + slack,
        );
        if (bar) this.tip(event, String(bar.tooltip));
        else this.untip();
      });
      canvas.addEventListener("mouseup", (event) => {
        if (start === null) return;
        const ends = [start, inside(event)].sort((a, b) => a - b);
        start = null;
        if (ends[1] - ends[0] > 5) range = ends.map(time);
        draw();
      });
      canvas.addEventListener("mouseleave", () => {
        start = null;
        this.untip();
        draw();
      });
      canvas.addEventListener("contextmenu", (event) => {
        event.preventDefault();
        range = whole;
        draw();
      });
      draw();
    }
  }

  // Wide tables scroll by themselves; else they would push the page's right edge out of sight.
  html(
    "style",
    "",
    document.head,
    `main { min-width: 0 } .ant-table { overflow-x: auto }
    :where(.MuiGrid-root:not(.MuiGrid-container)) { max-width: 100% }`,
  );

  window.google = {
    charts: { load: () => Promise.resolve() },
    visualization: {
      DataTable,
      arrayToDataTable,
      LineChart,
      PieChart,
      ColumnChart,
      SteppedAreaChart,
      Table,
      Timeline,
      ComboChart: ColumnChart,
      events: {
        addListener(chart, name, listen) {
          (chart.listeners[name] ??= []).push(listen);
        },
      },
    },
  };
})();
