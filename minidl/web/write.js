// A text that the model goes on with: letters become token numbers, numbers become letters.

import { latest, show, softmax } from "./answers.js";

const LENGTH = 60;  // tokens that one press of the button adds

// As minidl.data.text: words and runs of marks, each with the space before it, and runs of spaces.
// Python's idea of a letter and of a space, which is not quite JavaScript's.
const W = "[\\p{L}\\p{N}_]";
const S = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const M = `[^\\p{L}\\p{N}_${S.slice(1, -1)}]`;
const PIECES = new RegExp(` ?${W}+| ?${M}+|${S}+(?=$|${S})|${S}+`, "gu");

// Numbers of byte pairs: `merges[k]` is the pair that the number 256 + k stands for.
function pairs(merges) {
  const order = new Map([...merges.entries()].reverse().map(([k, [a, b]]) => [`${a},${b}`, k]));
  const bytes = Array.from({ length: 256 }, (_, i) => [i]);
  for (const [a, b] of merges) bytes.push([...bytes[a], ...bytes[b]]);

  function piece(text) {
    let numbers = [...new TextEncoder().encode(text)];
    for (;;) {
      let first = Infinity;
      for (let i = 0; i + 1 < numbers.length; i += 1) {
        first = Math.min(first, order.get(`${numbers[i]},${numbers[i + 1]}`) ?? Infinity);
      }
      if (first === Infinity) return numbers;
      const [a, b] = merges[first];
      const merged = [];
      for (let i = 0; i < numbers.length; i += 1) {
        if (numbers[i] === a && numbers[i + 1] === b) {
          merged.push(256 + first);
          i += 1;
        } else {
          merged.push(numbers[i]);
        }
      }
      numbers = merged;
    }
  }

  return {
    encode: (text) => (text.match(PIECES) ?? []).flatMap(piece),
    decode: (numbers) => new TextDecoder().decode(
      Uint8Array.from(numbers.flatMap((i) => bytes[i]))),
  };
}

// Numbers of characters; what has none is left out.
function letters(characters) {
  const numbers = new Map(characters.map((character, i) => [character, i]));
  return {
    encode: (text) => [...text].map((c) => numbers.get(c)).filter((i) => i !== undefined),
    decode: (numbers_) => numbers_.map((i) => characters[i]).join(""),
  };
}

// One number drawn from the scores; at temperature 0 the likeliest.
function sample(scores, temperature) {
  if (temperature === 0) return scores.indexOf(Math.max(...scores));
  const p = softmax(scores.map((score) => score / temperature));
  let left = Math.random();
  return Math.max(0, p.findIndex((share) => (left -= share) < 0));
}

export async function write(settings, run) {
  const tokens = settings.merges ? pairs(settings.merges) : letters(settings.characters);
  const area = document.getElementById("text");
  const go = document.getElementById("go");
  const heat = document.getElementById("temperature");

  // The scores of what follows these numbers; of probabilities the logarithms are scores.
  async function scores(numbers) {
    const read = numbers.slice(-settings.context);
    const found = await run("int64", BigInt64Array.from(read, BigInt), [1, read.length]);
    const last = Array.from(found.slice(found.length - found.length / read.length));
    return settings.probabilities ? last.map(Math.log) : last;
  }

  function present(p, numbers) {
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 8);
    const name = (i) => JSON.stringify(tokens.decode([i]));
    show(document.getElementById("next"), best.map((i) => [name(i), p[i]]));
    window.minidl = { numbers, probabilities: p };  // for who opens the console
  }

  const think = latest(async () => {
    const numbers = tokens.encode(area.value);
    if (numbers.length) present(softmax(await scores(numbers)), numbers);
  });

  let stopped = true;
  async function goOn() {
    if (!stopped) {
      stopped = true;
      return;
    }
    stopped = false;
    go.textContent = "Stop";
    area.readOnly = true;
    const begun = area.value || "\n";
    const numbers = tokens.encode(begun);
    const first = numbers.length;
    for (let n = 0; n < LENGTH && !stopped && first; n += 1) {
      numbers.push(sample(await scores(numbers), Number(heat.value)));
      area.value = begun + tokens.decode(numbers.slice(first));
      area.scrollTop = area.scrollHeight;
      await new Promise(requestAnimationFrame);
    }
    stopped = true;
    go.textContent = "Go on";
    area.readOnly = false;
    document.getElementById("told").textContent = area.value.slice(begun.length);
    await think();
  }

  area.addEventListener("input", think);
  go.addEventListener("click", goOn);
  heat.addEventListener("input", () => {
    document.getElementById("degrees").textContent = Number(heat.value).toFixed(1);
  });
  area.value = settings.characters ? settings.characters[0] : "The ";
  await think();
  document.getElementById("write").hidden = false;
}
