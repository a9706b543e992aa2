// Loads what the page knows of its model, the runtime and the model itself, then shows the part
// that fits: draw.js for images, write.js for text.  After that nothing more is fetched.

import { draw } from "./draw.js";
import { write } from "./write.js";

const state = document.getElementById("state");

// What the model gives for one input, scores or probabilities, as an array of numbers.
function runner(ort, session, settings) {
  return async (kind, data, shape) => {
    const input = new ort.Tensor(kind, data, shape);
    const found = await session.run({ [settings.input]: input });
    return found[settings.output].data;
  };
}

// What the page knows of its model.
async function known() {
  try {
    return await (await fetch("settings.json")).json();
  } catch (error) {
    throw new Error("The file settings.json cannot be read: write the page again.");
  }
}

// The runtime's module.
async function runtime() {
  try {
    return await import("./runtime/ort.wasm.min.mjs");
  } catch (error) {
    throw new Error(`The runtime cannot be read (${error.message}): the browser may be too old, `
      + "one of 2023 or later is not; or a file of the page is gone.");
  }
}

async function start() {
  const began = performance.now();
  const settings = await known();
  document.title = settings.title;
  document.getElementById("title").textContent = settings.title;
  const ort = await runtime();
  ort.env.wasm.wasmPaths = new URL("runtime/", document.baseURI).href;
  ort.env.wasm.numThreads = 1;  // more need headers that a plain server does not send
  let content;
  try {
    const options = { integrity: settings.integrity };  // another file than was written is refused
    content = await (await fetch("model.onnx", options)).arrayBuffer();
  } catch (error) {
    throw new Error("The file model.onnx is not the one that this page was made with, or cannot be "
      + "read: write the page again.");
  }
  const session = await ort.InferenceSession.create(content);
  const run = runner(ort, session, settings);
  const part = { image: draw, text: write }[settings.kind];
  await part(settings, run);
  const seconds = (performance.now() - began) / 1000;
  state.hidden = true;
  document.getElementById("where").textContent =
    `Ready after ${seconds.toFixed(1)} s. The model, ${(settings.bytes / 1e6).toFixed(2)} MB, runs `
    + "in this browser: nothing that you enter leaves this device.";
  document.body.dataset.state = "ready";
}

start().catch((error) => {
  state.textContent = error.message;
  document.body.dataset.state = "failed";
});
