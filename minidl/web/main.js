// Loads what the page knows of its model, the runtime and the model itself, then shows the part
// that fits: draw.js for images, write.js for text.  After that nothing more is fetched.

import { draw } from "./draw.js";
import { write } from "./write.js";

const state = document.getElementById("state");

// The scores that the model gives for one input, as an array of numbers.
function runner(ort, session, settings) {
  return async (kind, data, shape) => {
    const input = new ort.Tensor(kind, data, shape);
    const found = await session.run({ [settings.input]: input });
    return found[settings.output].data;
  };
}

async function start() {
  if (typeof WebAssembly !== "object") {
    throw new Error("This browser has no WebAssembly, or it is switched off: the model cannot run "
      + "here. Any browser since 2021 has it.");
  }
  const began = performance.now();
  const settings = await (await fetch("settings.json")).json();
  document.title = settings.title;
  document.getElementById("title").textContent = settings.title;
  const ort = await import("./runtime/ort.wasm.min.mjs");
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
