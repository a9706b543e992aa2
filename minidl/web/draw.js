// A drawing area for an image model: what is drawn becomes pixels, pixels become probabilities.

import { latest, show, softmax } from "./answers.js";

const MOST = 12;  // classes that are shown in their order; of more, the likeliest

export async function draw({ shape, labels, centre, probabilities }, run) {
  const [channels, height, width] = shape;
  const scale = Math.max(1, Math.round(280 / Math.max(height, width)));  // canvas pixels for one
  const canvas = document.getElementById("canvas");
  const byMass = document.getElementById("centre");
  const answer = document.getElementById("answer");
  const pen = { x: width / 2, y: height / 2, down: false };  // in the model's pixels
  const [context, other] = [canvas, document.createElement("canvas")].map((c) => {
    c.width = width * scale;
    c.height = height * scale;
    return c.getContext("2d", { willReadFrequently: true });
  });
  canvas.setAttribute("aria-label", `Drawing area, ${height} rows, ${width} columns`);
  byMass.checked = centre;

  // What is drawn, as height x width numbers from 0 to 1; 1 is ink.
  function pixels() {
    const source = byMass.checked ? centred() : context;
    const { data } = source.getImageData(0, 0, canvas.width, canvas.height);
    const found = new Float32Array(height * width);
    for (let i = 0; i < data.length; i += 4) {
      const place = i / 4;
      const row = Math.floor(Math.floor(place / canvas.width) / scale);
      const column = Math.floor((place % canvas.width) / scale);
      found[row * width + column] += data[i];
    }
    return found.map((sum) => sum / (255 * scale * scale));
  }

  // The drawing with its longer side 20 / 28 of the frame, its centre of mass in the middle.
  function centred() {
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    let [mass, x, y] = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] === 0) continue;
      const [column, row] = [(i / 4) % canvas.width, Math.floor(i / 4 / canvas.width)];
      [left, right] = [Math.min(left, column), Math.max(right, column)];
      [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
      mass += data[i];
      x += data[i] * (column + 0.5);
      y += data[i] * (row + 0.5);
    }
    other.setTransform(1, 0, 0, 1, 0, 0);
    other.fillStyle = "#000";
    other.fillRect(0, 0, canvas.width, canvas.height);
    if (mass > 0) {
      const longer = Math.max(right - left, bottom - top) + 1;
      const r = (20 / 28) * Math.min(canvas.width, canvas.height) / longer;
      other.setTransform(r, 0, 0, r, canvas.width / 2 - r * x / mass, canvas.height / 2 - r * y / mass);
      other.drawImage(canvas, 0, 0);
    }
    return other;
  }

  const think = latest(async () => {
    const one = pixels();
    const input = new Float32Array(channels * one.length);
    for (let c = 0; c < channels; c += 1) input.set(one, c * one.length);
    const found = await run("float32", input, [1, ...shape]);
    const p = probabilities ? Array.from(found) : softmax(found);
    const blank = one.every((pixel) => pixel === 0);
    present(p, blank);
    window.minidl = { pixels: one, probabilities: p, blank };  // for who opens the console
  });

  let spoken = 0;
  function present(p, blank) {
    let rows = labels.map((label, k) => [label, blank ? 0 : p[k]]);
    const best = rows.reduce((a, b) => (b[1] > a[1] ? b : a));
    if (rows.length > MOST) rows = rows.sort((a, b) => b[1] - a[1]).slice(0, 10);
    show(document.getElementById("classes"), rows);
    clearTimeout(spoken);  // said when the hand rests, not at each stroke
    spoken = setTimeout(() => {
      answer.textContent = blank ? "Nothing is drawn yet."
        : `${best[0]}, ${(100 * best[1]).toFixed(0)} %`;
    }, 250);
  }

  function clear() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    return think();
  }

  function line(x, y) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * scale;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(pen.x * scale, pen.y * scale);
    context.lineTo(x * scale, y * scale);
    context.stroke();
    think();
  }

  function moved(event, drawn) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const y = (event.clientY - box.top) / box.height * height;
    if (!drawn) [pen.x, pen.y] = [x, y];
    line(x, y);
    [pen.x, pen.y] = [x, y];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    moved(event, false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const steps = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const step of steps.length ? steps : [event]) moved(step, true);
  });

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in steps) {
      const [dx, dy] = steps[event.key];
      const x = Math.min(width, Math.max(0, pen.x + dx));
      const y = Math.min(height, Math.max(0, pen.y + dy));
      if (pen.down) line(x, y);
      [pen.x, pen.y] = [x, y];
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) line(pen.x, pen.y);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      clear();
    } else {
      return;
    }
    event.preventDefault();
    document.getElementById("pen").textContent =
      `Pen ${pen.down ? "down" : "up"}, row ${Math.round(pen.y)}, column ${Math.round(pen.x)}`;
  });
  document.getElementById("clear").addEventListener("click", clear);
  byMass.addEventListener("change", think);
  await clear();
  document.getElementById("draw").hidden = false;
}
