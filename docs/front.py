"""Draw docs/front.png, the picture of README: what four networks of the course have learned.

    python docs/front.py

Trains three of them, in a minute; the fourth, a GPT, comes from course/trained.  Prints what stands
in the picture.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import minidl
from minidl import io, nn, optim
from minidl.data.text import Vocabulary
from minidl.nn import functional as F

HERE = Path(__file__).resolve().parent
COURSE = HERE.parent / "course"
STEPS = 2000  # of the filters' training
COLOURS = np.array([[0.00, 0.45, 0.70], [0.84, 0.37, 0.00], [0.00, 0.62, 0.45]])


def fitted(model, x, y, loss, *, steps, lr):
    """The model after so many steps on all of x."""
    x, y = minidl.tensor(x.astype("float32")), minidl.tensor(y)
    optimizer = optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model.eval()


def two_clouds(rng):
    x = np.concatenate([rng.normal(c, 0.5, (60, 2)) for c in ((-0.8, -0.5), (0.8, 0.5))])
    return x.clip(-1.8, 1.8), np.repeat([0, 1], 60)


def spiral(rng):
    """Three arms, each a turn long."""
    radius = np.tile(np.linspace(0.1, 1.7, 120), 3)
    arm = np.repeat([0, 1, 2], 120)
    angle = 3.6 * radius + arm * 2 * np.pi / 3 + rng.normal(0, 0.12, len(arm))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), arm


def border(axes, model, x, y):
    """The colour of each place is what the model says there: sure is strong, in doubt is white."""
    side = np.linspace(-1.9, 1.9, 300)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)  # (300, 300, 2) -> (90000, 2)
    with minidl.no_grad():
        scores = model(minidl.tensor(grid.astype("float32"))).numpy()
    if scores.shape[1] == 1:  # one neuron's: the other class has 0
        scores = np.concatenate([0 * scores, scores], 1)  # (90000, 1) -> (90000, 2)
    p = F.softmax(minidl.Tensor(scores)).numpy()
    sure = (p.max(1, keepdims=True) - 1 / p.shape[1]) / (1 - 1 / p.shape[1])
    painted = 1 - 0.55 * sure * (1 - COLOURS[p.argmax(1)])
    axes.imshow(painted.reshape(300, 300, 3), extent=(-1.9, 1.9, -1.9, 1.9), origin="lower")
    for k, marker in zip(range(p.shape[1]), "os^"):
        style = {"color": COLOURS[k], "edgecolor": "white", "linewidth": 0.5}
        axes.scatter(*x[y == k].T, s=16, marker=marker, **style)


def patches(rng, n, size, kept):
    """n square cuts of the sample photographs as rows (n, kept) of numbers that do not go
    together, each of variance 1, and the matrix (kept, size * size) that leads back to a picture.
    """
    found = []
    for photo in load_sample_images().images:
        grey = photo.mean(2) / 255  # (H, W, 3) -> (H, W)
        for _ in range(n // 2):
            i, j = rng.integers(0, grey.shape[0] - size), rng.integers(0, grey.shape[1] - size)
            found.append(grey[i : i + size, j : j + size].ravel())
    x = np.array(found)
    x -= x.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))  # (D, N) @ (N, D)
    values, vectors = values[-kept:], vectors[:, -kept:]
    scale = np.sqrt(values)
    return x @ (vectors / scale), (vectors * scale).T  # (N, D) @ (D, kept)


def filters(rng, size=12, k=64):
    """K pictures (K, size, size): what photographs are made of, so that few are needed for each.

    Reconstruction ICA: Le, Karpenko, Ngiam and Ng 2011.
    """
    x, back = patches(rng, 20_000, size, kept=80)
    w = nn.Parameter(minidl.randn(x.shape[1], k) / x.shape[1] ** 0.5)
    optimizer = optim.Adam([w], 0.01, schedule=optim.cosine(STEPS))
    for _ in range(STEPS):
        some = minidl.tensor(x[rng.integers(len(x), size=512)].astype("float32"))
        unit = w / (w * w).sum(0, keepdims=True) ** 0.5
        code = some @ unit  # (N, kept) @ (kept, K)
        again = code @ unit.transpose(1, 0)  # (N, K) @ (K, kept)
        error = again - some
        loss = 0.5 * (error * error).sum(1).mean() + (code * code + 1e-2).sqrt().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"filters: loss {loss.item():.2f}")
    return (w.numpy().T @ back).reshape(k, size, size)  # (K, kept) @ (kept, D)


def tiled(pictures, columns=8):
    """Pictures (K, H, W) side by side, each from -1 to 1, with lines between them."""
    pictures = pictures / np.abs(pictures).max((1, 2), keepdims=True)
    framed = np.pad(pictures, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    k, h, w = framed.shape
    # (K, H, W) -> (rows, columns, H, W) -> (rows, H, columns, W)
    rows = framed.reshape(k // columns, columns, h, w).transpose(0, 2, 1, 3)
    return rows.reshape(k // columns * h, columns * w)[:-1, :-1]


def written(n=230):
    """What the GPT of lesson 18 writes after "The "."""
    vocabulary = Vocabulary(["\n"] + [chr(i) for i in range(32, 127)])
    gpt = nn.GPT(len(vocabulary), context=128, width=96, heads=4, layers=3)
    gpt.load_state_dict(io.load(COURSE / "trained" / "18_gpt.safetensors")[0])
    prompt = np.array([vocabulary.encode("\nThe ")])
    rng = np.random.default_rng(0)
    row = gpt.eval().generate(prompt, n, temperature=0.6, rng=rng)[0]
    return "".join(vocabulary.decode(row[1:]))


def wrapped(text, width):
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{word} "
    return lines


def main():
    plt.style.use(COURSE / "course.mplstyle")
    plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    fig, axes = plt.subplots(2, 2, figsize=(6.4, 6.9))

    x, y = two_clouds(rng)
    target = y[:, None].astype("float32")  # (N,) -> (N, 1)
    neuron = fitted(nn.Linear(2, 1), x, target, F.bce_with_logits, steps=300, lr=0.1)
    border(axes[0, 0], neuron, x, y)
    axes[0, 0].set_title("one neuron")

    x, y = spiral(rng)
    layers = nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)
    network = fitted(nn.Sequential(*layers), x, y, F.cross_entropy, steps=600, lr=0.01)
    border(axes[0, 1], network, x, y)
    axes[0, 1].set_title("three layers")

    picture = tiled(filters(rng))
    axes[1, 0].imshow(picture, cmap="gray", vmin=-1, vmax=1)
    axes[1, 0].set_title("the strokes of photographs")

    text = written()
    print(text)
    lines = wrapped(text, 22)[:9]
    for i, line in enumerate(lines):
        axes[1, 1].text(0.03, 0.93 - 0.108 * i, line, family="monospace", fontsize=12, va="center")
    axes[1, 1].set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[1, 1].set_title("a GPT writes")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("0.8")
    fig.savefig(HERE / "front.png", dpi=100)


if __name__ == "__main__":
    main()
