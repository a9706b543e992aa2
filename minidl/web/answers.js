// What both kinds of pages do with scores.

// Scores -> probabilities, the largest taken away first so that nothing overflows.
export function softmax(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const p = Array.from(scores, (score) => Math.exp(score - most));
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((x) => x / sum);
}

// Rows of a table: a name, a bar, and a percentage each.
export function show(table, rows) {
  table.replaceChildren(...rows.map(([name, p]) => {
    const row = document.createElement("tr");
    row.dataset.p = p;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const share = document.createElement("td");
    share.className = "share";
    share.setAttribute("aria-hidden", "true");
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = `${100 * p}%`;
    share.append(bar);
    const number = document.createElement("td");
    number.className = "number";
    number.textContent = `${(100 * p).toFixed(1)} %`;
    row.append(head, share, number);
    return row;
  }));
}

// A function that does `work`, never twice at once: who calls it meanwhile has it done once more.
export function latest(work) {
  let [running, waiting] = [false, false];
  return async () => {
    waiting = true;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        waiting = false;
        await work();
      }
    } finally {
      running = false;
    }
  };
}
