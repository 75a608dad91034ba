"use strict";
// What a page does by itself: shows what is under the pointer, zooms charts, sorts tables, loads itself anew
// where it is served. Everything else is there without it. All texts become text, never HTML.
(() => {
  const NEAR = 24, FARTHEST = 60, STEP = 1.6;
  const told = document.createElement("div");
  told.id = "told";
  told.hidden = true;
  told.setAttribute("role", "status");
  document.body.append(told);

  const number = (value) => {
    const text = String(+value.toPrecision(6));
    if (text.length <= 7) return text;
    return value.toExponential(1).replace("+", "").replace(".0e", "e");
  };

  const show = (text, x, y) => {
    told.textContent = text;
    told.hidden = false;
    const { width, height } = told.getBoundingClientRect();
    const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
    const top = y + 14 + height > innerHeight ? y - 14 - height : y + 14;
    told.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
    told.style.top = `${Math.max(4, top)}px`;
  };
  const hide = () => { told.hidden = true; };

  class Axis { // as cost values lie on it: low at start, high at end
    constructor(words, start, end) {
      [this.low, this.high] = words.split(" ").map(Number);
      this.log = words.endsWith("log");
      this.start = start;
      this.end = end;
    }
    value(at) {
      const share = (at - this.start) / (this.end - this.start);
      if (this.log) return this.low * (this.high / this.low) ** share;
      return this.low + share * (this.high - this.low);
    }
    ticks(low, high) {
      if (this.log && high / low > 12) {
        const found = [], every = Math.ceil(Math.log10(high / low) / 6);
        for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += every)
          for (const factor of high / low < 1e3 ? [1, 2, 5] : [1]) found.push(factor * 10 ** power);
        return found.filter((value) => low <= value * (1 + 1e-9) && value <= high * (1 + 1e-9));
      }
      const least = (high - low) / 5, power = 10 ** Math.floor(Math.log10(least));
      const step = power * [1, 2, 5, 10].find((factor) => power * factor >= least * (1 - 1e-9));
      const found = [];
      for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
      return found;
    }
  }

  class Chart {
    constructor(svg) {
      this.svg = svg;
      this.figure = svg.closest("figure");
      this.plot = svg.querySelector("svg");
      [this.left, this.top, this.right, this.bottom] = svg.dataset.frame.split(" ").map(Number);
      this.x = new Axis(svg.dataset.x, this.left, this.right);
      this.y = svg.dataset.y ? new Axis(svg.dataset.y, this.bottom, this.top) : null;
      this.ticks = svg.querySelector(".ticks");
      this.placed = [...this.plot.querySelectorAll("[transform^=translate]")].map((node) => {
        const [x, y] = node.getAttribute("transform").slice(10, -1).split(" ").map(Number);
        return { node, x, y };
      });
      this.points = this.placed.filter((one) => one.node.dataset.t)
        .map((one) => ({ x: one.x, y: one.y, text: one.node.dataset.t }));
      for (const line of this.plot.querySelectorAll("[data-p]")) this.points.push(...this.along(line));
      this.points.sort((one, other) => one.x - other.x);
      this.now = -1;
      this.ring = this.make("circle", "ring");
      this.ring.setAttribute("r", 6);
      this.reset();
      this.listen();
      if (!this.figure.classList.contains("strip")) this.buttons();
    }
    make(name, style) {
      const node = document.createElementNS(this.svg.namespaceURI, name);
      node.setAttribute("class", style);
      return node;
    }
    along(line) { // points of a line: where they are, and what they say
      const values = line.dataset.p.split(" "), name = line.dataset.name;
      const places = line.dataset.at.split(" ");
      return values.map((pair, index) => {
        const [x, y] = pair.split(","), [atX, atY] = places[index].split(",").map(Number);
        return { x: atX, y: atY, text: `${this.svg.dataset.xname} ${x}\n${name}: ${y}` };
      });
    }
    get zoomed() {
      const { x0, x1, y0, y1 } = this.view;
      return x0 !== this.left || x1 !== this.right || y0 !== this.top || y1 !== this.bottom;
    }
    reset() { this.see(this.left, this.right, this.top, this.bottom); }
    see(x0, x1, y0, y1) { // a window of the picture as it was drawn, kept inside it
      if (!this.y) [y0, y1] = [this.top, this.bottom];
      const wide = Math.min(x1 - x0, this.right - this.left), high = Math.min(y1 - y0, this.bottom - this.top);
      const left = Math.max(this.left, Math.min(x0, this.right - wide));
      const top = Math.max(this.top, Math.min(y0, this.bottom - high));
      const first = !this.view;
      this.view = { x0: left, x1: left + wide, y0: top, y1: top + high };
      this.a = (this.right - this.left) / wide;
      this.d = (this.bottom - this.top) / high;
      this.figure.classList.toggle("zoomed", this.zoomed);
      if (!first) this.draw();
    }
    place(x, y) {
      return [this.left + (x - this.view.x0) * this.a, this.top + (y - this.view.y0) * this.d];
    }
    draw() {
      const [x, y] = this.place(0, 0);
      for (const group of this.plot.querySelectorAll(".moved"))
        group.setAttribute("transform", `matrix(${this.a} 0 0 ${this.d} ${x} ${y})`);
      for (const { node, x, y } of this.placed)
        node.setAttribute("transform", `translate(${this.place(x, y).join(" ")})`);
      this.ring.remove();
      hide();
      const kept = this.svg.querySelector(".ticks");
      if (!this.zoomed) { kept.replaceWith(this.ticks); return; }
      const group = this.make("g", "ticks");
      const { x0, x1, y0, y1 } = this.view, { left, right, top, bottom } = this;
      this.path(group, `M${left} ${top}V${bottom}H${right}`);
      const scale = (at, low, high, start, end) => start + (at - low) / (high - low) * (end - start);
      const marks = (axis, from, to) => axis.ticks(axis.value(from), axis.value(to)).map((value) => {
        const share = axis.log ? Math.log(value / axis.low) / Math.log(axis.high / axis.low)
          : (value - axis.low) / (axis.high - axis.low);
        return [value, axis.start + share * (axis.end - axis.start)];
      });
      for (const [value, at] of marks(this.x, x0, x1)) {
        const x = scale(at, x0, x1, left, right);
        this.path(group, `M${x} ${bottom}V${bottom + 4}`);
        this.word(group, number(value), x, bottom + 15, "middle");
      }
      for (const [value, at] of this.y ? marks(this.y, y1, y0) : []) {
        const y = scale(at, y0, y1, top, bottom);
        this.path(group, `M${left} ${y}H${right}`);
        this.word(group, number(value), left - 6, y + 4, "end");
      }
      kept.replaceWith(group);
    }
    path(group, d) {
      const path = this.make("path", "axis");
      path.setAttribute("d", d);
      group.append(path);
    }
    word(group, text, x, y, anchor) {
      const node = this.make("text", "");
      node.textContent = text;
      for (const [name, value] of Object.entries({ x, y, "text-anchor": anchor })) node.setAttribute(name, value);
      group.append(node);
    }
    at(event) { // of the picture, from the screen
      const frame = this.svg.getBoundingClientRect(), wide = this.svg.viewBox.baseVal.width;
      this.scale = frame.width / wide;
      return [(event.clientX - frame.left) / this.scale, (event.clientY - frame.top) / this.scale];
    }
    zoom(factor, x = (this.left + this.right) / 2, y = (this.top + this.bottom) / 2) {
      const { x0, y0 } = this.view, most = this.a * factor;
      if (most > FARTHEST) return;
      const fromX = x0 + (x - this.left) / this.a, fromY = y0 + (y - this.top) / this.d;
      const left = fromX - (x - this.left) / most, top = fromY - (y - this.top) / (this.d * factor);
      this.see(left, left + (this.right - this.left) / most,
        top, top + (this.bottom - this.top) / (this.d * factor));
    }
    hover(event, near) {
      const part = event.target.closest && event.target.closest("[data-t],[data-s]");
      const [x, y] = this.at(event);
      if (part && !part.hasAttribute("transform")) {
        show(part.dataset.s ? this.share(part, x) : part.dataset.t, event.clientX, event.clientY);
        return;
      }
      let best = null, least = near / this.scale;
      this.points.forEach((point, index) => {
        const [atX, atY] = this.place(point.x, point.y);
        if (atX < this.left - 1 || atX > this.right + 1 || atY < this.top - 1 || atY > this.bottom + 1) return;
        const distance = Math.hypot(atX - x, atY - y);
        if (distance <= least) { least = distance; best = index; } // of equals the last lies on top
      });
      if (best === null) { this.leave(); return; }
      this.point(best, event.clientX, event.clientY);
    }
    share(area, x) { // of a strip: its name, and its share in the epoch under the pointer
      const value = this.x.value(this.view.x0 + (x - this.left) / this.a);
      const steps = this.svg.dataset.steps.split(" ").map(Number);
      const far = steps.map((step) => Math.abs(step - value)), index = far.indexOf(Math.min(...far));
      const share = area.dataset.s.split(" ")[index];
      return `${area.dataset.name}\n${this.svg.dataset.xname} ${steps[index]}: ${share} %`;
    }
    point(index, x, y) {
      const found = this.points[index], [atX, atY] = this.place(found.x, found.y);
      this.now = index;
      this.ring.setAttribute("cx", atX);
      this.ring.setAttribute("cy", atY);
      this.plot.append(this.ring);
      show(found.text, x, y);
    }
    leave() { this.ring.remove(); hide(); }
    listen() {
      const svg = this.svg;
      let start = null, box = null;
      svg.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        start = { at: this.at(event), view: { ...this.view } };
        if (event.pointerType === "mouse" || this.zoomed) svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", (event) => {
        if (!start) { this.hover(event, NEAR); return; }
        const [x, y] = this.at(event), [fromX, fromY] = start.at;
        if (event.pointerType !== "mouse" || event.shiftKey) {
          if (!this.zoomed) return;
          const { x0, x1, y0, y1 } = start.view, dx = (x - fromX) / this.a, dy = (y - fromY) / this.d;
          this.see(x0 - dx, x1 - dx, y0 - dy, y1 - dy);
          return;
        }
        if (!box) this.plot.append(box = this.make("rect", "chosen"));
        const high = this.y ? Math.abs(y - fromY) : this.bottom - this.top;
        const corner = { x: Math.min(x, fromX), y: this.y ? Math.min(y, fromY) : this.top };
        for (const [name, value] of Object.entries({ ...corner, width: Math.abs(x - fromX), height: high }))
          box.setAttribute(name, value);
        this.leave();
      });
      const end = (event) => {
        if (!start) return;
        const [x, y] = this.at(event), [fromX, fromY] = start.at;
        const wide = Math.abs(x - fromX), high = Math.abs(y - fromY), drawn = box;
        start = null;
        if (box) { box.remove(); box = null; }
        if (event.type === "pointercancel") return;
        if (drawn && wide > 8 && (high > 8 || !this.y)) {
          const { x0, y0 } = this.view;
          const left = x0 + (Math.min(x, fromX) - this.left) / this.a;
          const top = y0 + (Math.min(y, fromY) - this.top) / this.d;
          if (this.a * (this.right - this.left) / wide < FARTHEST)
            this.see(left, left + wide / this.a, top, top + high / this.d);
        } else if (wide < 8 && high < 8) this.hover(event, 2 * NEAR);
      };
      svg.addEventListener("pointerup", end);
      svg.addEventListener("pointercancel", end);
      svg.addEventListener("pointerleave", () => { if (!start) this.leave(); });
      svg.addEventListener("dblclick", () => this.reset());
      svg.addEventListener("wheel", (event) => { // as trackpads tell of two fingers
        if (!event.ctrlKey) return;
        event.preventDefault();
        this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, ...this.at(event));
      }, { passive: false });
      svg.addEventListener("keydown", (event) => this.key(event));
      svg.addEventListener("blur", () => this.leave());
    }
    key(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step && this.points.length) {
        const index = Math.max(0, Math.min(this.points.length - 1, this.now + step));
        const [x, y] = this.place(this.points[index].x, this.points[index].y);
        const frame = this.svg.getBoundingClientRect();
        const scale = frame.width / this.svg.viewBox.baseVal.width;
        this.point(index, frame.left + x * scale, frame.top + y * scale);
      } else if (event.key === "+") this.zoom(STEP);
      else if (event.key === "-") this.zoom(1 / STEP);
      else if (event.key === "0") this.reset();
      else if (event.key === "Escape") this.leave();
      else return;
      event.preventDefault();
    }
    buttons() {
      const tools = document.createElement("span");
      tools.className = "tools";
      const doing = [["+", "zoom in", () => this.zoom(STEP)], ["\u2212", "zoom out", () => this.zoom(1 / STEP)],
        ["1:1", "show all", () => this.reset()]];
      for (const [text, label, act] of doing) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = text;
        button.setAttribute("aria-label", `${label}: ${this.svg.getAttribute("aria-label")}`);
        button.title = label;
        button.addEventListener("click", act);
        tools.append(button);
      }
      this.figure.querySelector("figcaption").prepend(tools);
    }
  }

  class Table { // a column's head is pressed: rising, falling, as it was
    constructor(table) {
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.heads = [...table.tHead.rows[0].cells];
      if (this.rows.length < 2) return;
      for (const [column, head] of this.heads.entries()) {
        head.tabIndex = 0;
        head.title = "sort by this column";
        head.setAttribute("aria-sort", "none");
        head.addEventListener("click", () => this.sort(column));
        head.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          this.sort(column);
        });
      }
    }
    sort(column) { // by the number that cells begin with, if all of them do; what is empty stays last
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const way = next[this.heads[column].getAttribute("aria-sort")];
      for (const [place, head] of this.heads.entries())
        head.setAttribute("aria-sort", place === column ? way : "none");
      const text = (row) => row.cells[column].textContent.trim();
      const given = this.rows.filter((row) => !["", "-"].includes(text(row)));
      const numbers = given.every((row) => /^(< )?[-\u2212]?\d/.test(text(row)));
      const key = (row) => {
        const below = text(row).startsWith("< "), number = text(row).replace("< ", "").replace("\u2212", "-");
        return parseFloat(number) - (below ? 1e-9 : 0);
      };
      const by = numbers ? (one, other) => key(one) - key(other)
        : (one, other) => text(one).localeCompare(text(other), "en", { numeric: true });
      if (way === "ascending") given.sort(by);
      else if (way === "descending") given.sort((one, other) => by(other, one));
      const rest = this.rows.filter((row) => !given.includes(row));
      this.body.append(...(way === "none" ? this.rows : [...given, ...rest]));
    }
  }

  for (const svg of document.querySelectorAll("svg[data-frame]")) new Chart(svg);
  for (const table of document.querySelectorAll("table")) new Table(table);
  addEventListener("scroll", hide, { passive: true });
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });

  const mine = document.body.dataset.version; // where it is served: load anew what was made anew
  const look = async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      if (answer.ok && (await answer.text()) !== mine) { location.reload(); return; }
    } catch { /* whoever served it has ended: the page stays as it is */ }
    setTimeout(look, 1500);
  };
  if (mine) setTimeout(look, 1500);
})();
