"""Teach an LSTM to spell first names, measure it beside counting, and let it write new ones.

    python examples/names_lstm.py [--epochs 40] [--hidden 128] [--device cuda] [--out FOLDER]

A name is a row of tokens: the list it is from (female or male), its letters, and a full stop.
The network learns which token comes next; asked to go on from "female" or "male", it writes.
"""

import argparse
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from minidl import Tensor, nn, optim, tensor
from minidl.data import datasets, pad_sequence, text
from minidl.engine import intercept, random
from minidl.nn import LSTM, evaluating
from minidl.nn import functional as F

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise SystemExit(f'{error}; pip install "minidl[course]"') from error

KINDS, LETTERS, END = ("female", "male"), "abcdefghijklmnopqrstuvwxyz", "."
VOCABULARY = text.Vocabulary(LETTERS + END, special=KINDS)
OUTCOMES = len(LETTERS + END)  # what can come next; KINDS only begin a row


def read():
    """Rows of numbers for training (80 %), validation and test (10 % each), in a list each.

    A name that is in both lists gives two rows of one part, so no test name was ever read.
    """
    lists = datasets.names()
    names = sorted({*lists[0], *lists[1]})
    order = np.random.default_rng(0).permutation(len(names))
    tenth = {names[i]: place * 10 // len(names) for place, i in enumerate(order)}
    parts = [], [], []
    for kind, listed in zip(KINDS, lists):
        for name in listed:
            parts[max(0, tenth[name] - 7)].append(VOCABULARY.encode([kind, *name, END]))
    return parts


class Speller(nn.Module):
    """Numbers of tokens (N, T) -> for each place the logits of the next token, and the state.

    Numbers in a NumPy array are moved to where the weights are.
    """

    def __init__(self, n_hidden):
        self.embedding = nn.Embedding(len(VOCABULARY), 32)
        self.dropout = nn.Dropout(0.4)
        self.lstm = LSTM(32, n_hidden)
        self.output = nn.Linear(n_hidden, len(VOCABULARY))

    def forward(self, tokens, state=None):
        if not isinstance(tokens, Tensor):
            tokens = tensor(tokens, device=self.output.weight.device)
        h, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(h)), state  # (N, T, K)


def loss(model, rows):
    """The mean of -log(probability of the next token), over real tokens, not the padding."""
    tokens, lengths = pad_sequence(rows, value=0)
    real = np.nonzero(np.arange(1, tokens.shape[1]) < lengths[:, None])
    logits, _ = model(tokens[:, :-1])
    indices = *real, tokens[:, 1:][real]
    row, place, following = (tensor(a, device=logits.device) for a in indices)
    return F.cross_entropy(logits[row, place], following)


def perplexity(model, rows):
    """exp(loss): among how many equally likely characters the model is in doubt, on average."""
    with evaluating(model), intercept.no_grad():
        return math.exp(loss(model, rows).item())


def train(model, rows, valid, epochs, rng, batch_size=64):
    """Train the model; return the perplexity after each epoch, in training and validation."""
    lengths = [len(row) for row in rows]
    steps = epochs * -(-len(rows) // batch_size)
    optimizer = optim.AdamW(
        model.parameters(), lr=0.008, weight_decay=0.05, schedule=optim.one_cycle(steps)
    )
    history = {"training": [], "validation": []}
    for epoch in range(epochs):
        model.train()
        for batch in text.batches_by_length(lengths, batch_size, rng):
            optimizer.zero_grad()
            loss(model, [rows[i] for i in batch]).backward()
            optim.clip_grad_norm(optimizer.parameters, 1.0)
            optimizer.step()
        history["training"].append(perplexity(model, rows[:: len(rows) // len(valid)]))
        history["validation"].append(perplexity(model, valid))
        shown = ", ".join(f"{name} {values[-1]:.2f}" for name, values in history.items())
        print(f"epoch {epoch + 1}/{epochs}: perplexity in {shown}", flush=True)
    return history


def count(rows, n):
    """What followed each run of n tokens (fewer where a row begins), and how often; for shorter
    runs, before how many different tokens (Kneser and Ney 1995).  A dict run -> Counter.
    """
    followed = defaultdict(Counter)
    whole = [tuple(row[max(0, i - n) : i + 1]) for row in rows for i in range(1, len(row))]
    for *run, token in whole:
        followed[tuple(run)][token] += 1
    for _, *run, token in {tokens[start:] for tokens in whole for start in range(len(tokens) - 1)}:
        followed[tuple(run)][token] += 1
    return followed


def counted_perplexity(followed, rows, n, discount):
    """Perplexity of counting.  Each count gives up `discount`, in (0, 1), to what never followed
    the run; that share is divided as after the run one token shorter, in the end evenly.
    """
    logs = []
    for row in rows:
        for i in range(1, len(row)):
            p = 1 / OUTCOMES
            for back in range(min(n, i) + 1):
                if seen := followed.get(tuple(row[i - back : i])):
                    own = max(seen[row[i]] - discount, 0)
                    p = (own + discount * len(seen) * p) / seen.total()
            logs.append(math.log(p))
    return math.exp(-sum(logs) / len(logs))


def baselines(rows, valid, test, most=4):
    """A dict n -> perplexity of counting n tokens back, in validation, where the discount is
    chosen, and in test.  More than 4 do not help: there are too few names.
    """
    found = {}
    for n in range(1, most + 1):
        counts = count(rows, n)
        tried = [(counted_perplexity(counts, valid, n, d / 10), d / 10) for d in range(5, 10)]
        best, discount = min(tried)
        found[n] = best, counted_perplexity(counts, test, n, discount)
    return found


def next_token(model, tokens, state=None):
    """The probabilities of the token after each of `tokens` (N, T), and the state."""
    with evaluating(model), intercept.no_grad():
        logits, state = model(tokens, state)
        return F.softmax(logits).numpy(), state


def write(model, kind, n, rng, longest=15):
    """n names of this kind; each letter is drawn with the probability that the model gives it."""
    written, state = [np.full((n, 1), VOCABULARY.numbers[kind])], None
    for _ in range(longest):
        p, state = next_token(model, written[-1], state)
        p[..., : len(KINDS)] = 0  # they only begin a row
        sums = p[:, -1].cumsum(axis=1)  # (N, K)
        draws = rng.random((n, 1)) * sums[:, -1:]
        written.append((sums <= draws).sum(axis=1, keepdims=True))  # (N, 1)
    rows = np.concatenate(written[1:], axis=1)  # (N, longest)
    return ["".join(VOCABULARY.decode(row)).partition(END)[0] for row in rows]


def figure(history, counted, model, row, path):
    """Left, the curves beside counting; right, what the model expects along one name."""
    drawing = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
    for (name, values), style in zip(history.items(), (".-", ".--")):
        left.plot(range(1, len(values) + 1), values, style, label=f"LSTM, {name}")
    for n, (value, _) in counted.items():
        left.axhline(value, color="0.5", linewidth=1, label="" if n > 1 else "counting, validation")
        place = left.get_yaxis_transform()  # x in widths of the panel, y as in the data
        align = "top" if n == max(counted) else "bottom"  # the last two lie close together
        left.text(1.01, value, f"{n} back", transform=place, va=align, color="0.35", fontsize=9)
    left.set(xlabel="epoch", ylabel="perplexity per character", ylim=(5, 12))
    left.legend()

    p, _ = next_token(model, np.array([row]))
    image = right.imshow(
        p[0, :-1, len(KINDS) :].T, cmap="gray_r", vmin=0, vmax=1, aspect="auto"
    )  # fmt: skip
    came = np.array(row[1:]) - len(KINDS)
    right.plot(came, "s", color="C1", markerfacecolor="none")
    kind, *letters = VOCABULARY.decode(row[:-1])
    right.set_xticks(range(len(row) - 1), ["list", *letters])
    right.set_yticks(range(OUTCOMES), LETTERS + END, fontsize=8)
    right.set(xlabel=f"read so far (list: {kind})", ylabel="next character (square: what came)")
    drawing.colorbar(image, label="probability")
    drawing.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of all but the choice of test names")
    parser.add_argument("--out", type=Path, default=Path("runs/names_lstm"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, valid, test = read()
    counted = baselines(rows, valid, test)

    random.manual_seed(options.seed)  # the first weights, dropout
    rng = np.random.default_rng(options.seed)  # the batches, the letters drawn
    model = Speller(options.hidden).to(options.device)
    history = train(model, rows, valid, options.epochs, rng)

    print("\nperplexity per character  validation  test")
    for n, (value, tested) in counted.items():
        print(f"counting, {n} back         {value:10.2f}{tested:6.2f}")
    value, tested = perplexity(model, valid), perplexity(model, test)
    print(f"LSTM                     {value:10.2f}{tested:6.2f}\n")

    known, unseen = ({"".join(VOCABULARY.decode(r[1:-1])) for r in part} for part in (rows, test))
    for kind in KINDS:
        names = write(model, kind, 1000, rng)
        new = [name for name in names if name not in known]
        print(f"{kind}: {len(new) / len(names):.0%} of {len(names)} names written were not read in "
              f"training; {len(unseen & {*new})} of them are names of the test")  # fmt: skip
        print(f"  {', '.join(list(dict.fromkeys(new))[:10])}")

    longest = max(test, key=len)
    figure(history, counted, model, longest, options.out / "curves.png")
    print(f"curves are in {options.out}")


if __name__ == "__main__":
    main()
