"""Trains the GPT that lesson 18 loads, by characters, on the prose of Python's own help.

    OPENBLAS_NUM_THREADS=1 python course/trained/18_gpt.py > course/trained/18_gpt.log

Writes 18_gpt.safetensors beside itself.  The same lines as in the lesson, but longer.
"""

import re
import zlib
from pathlib import Path

import numpy as np

import minidl
from minidl import io, nn, optim
from minidl.data import datasets, text
from minidl.nn.functional import cross_entropy

CONTEXT, WIDTH, HEADS, LAYERS, STEPS, BATCH = 128, 96, 4, 3, 3600, 16


def paragraphs():
    """Each paragraph of prose once, without code, grammar and lists, as plain ASCII."""
    prose = datasets.prose().translate(str.maketrans("“”‘’", "\"\"''"))
    lines = [" ".join(part.split()) for part in prose.split("\n\n")]
    no_prose = re.compile(r"::=|--|>>>|__ =|\.\.\.|~~|==")
    lines = [line for line in lines if re.fullmatch(r"[A-Z][ -~]{40,}\.", line)]
    return list(dict.fromkeys(line for line in lines if not no_prose.search(line)))


def two_texts():
    """The text to learn from and the one to be measured on; a checksum decides, not the order."""
    lines, texts = paragraphs(), []
    for held in (False, True):
        texts.append("\n".join(p for p in lines if (zlib.crc32(p.encode()) % 10 == 0) == held))
    return texts


def main():
    vocabulary = text.Vocabulary(["\n"] + [chr(i) for i in range(32, 127)])
    ids, held = (np.array(vocabulary.encode(t)) for t in two_texts())
    print(f"{len(ids)} characters to learn from, {len(held)} held out, {len(vocabulary)} kinds")
    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    model = nn.GPT(len(vocabulary), CONTEXT, WIDTH, HEADS, LAYERS, dropout=0.1)
    print(f"{sum(p.size for p in model.parameters())} numbers to learn")
    schedule = optim.warmup(100, optim.cosine(STEPS - 100))
    optimizer = optim.Adam(model.parameters(), lr=3e-3, schedule=schedule)
    x_held, y_held = text.next_token_pairs(held, CONTEXT)
    losses = []
    for step in range(1, STEPS + 1):
        start = rng.integers(len(ids) - CONTEXT, size=(BATCH, 1))
        rows = ids[start + np.arange(CONTEXT + 1)]
        loss = cross_entropy(model(rows[:, :-1]), rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 200 == 0:
            with nn.evaluating(model), minidl.no_grad():
                there = cross_entropy(model(x_held), y_held).item()
            here = np.mean(losses[-200:])
            print(f"step {step}: training {here:.2f}, held out {there:.2f}", flush=True)
    io.save(Path(__file__).with_suffix(".safetensors"), model.state_dict())


if __name__ == "__main__":
    main()
