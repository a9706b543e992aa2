"""Export what the other examples trained, in 32 bits and in 8, and compare accuracy and size.

    python examples/fashion_cnn.py
    python examples/tiny_gpt.py
    python examples/eight_bits.py [--runs FOLDER] [--out FOLDER]

Prints a table for each model: minidl's answers and onnxruntime's, the size of the file, and how far
both are apart.  Needs pip install "minidl[onnx]".
"""

import argparse
from pathlib import Path

import fashion_cnn
import numpy as np
from tiny_gpt import CONTEXT

from minidl import io, nn, no_grad, tensor
from minidl.data import datasets
from minidl.data.text import BytePairEncoding, next_token_pairs
from minidl.nn import functional as F
from minidl.onnx import export

try:
    import onnxruntime
except ImportError as error:
    raise SystemExit(f'{error}; pip install "minidl[onnx]"') from error


def trained(model, run):
    """The model with the weights that an example left in `run`."""
    checkpoint = run / "checkpoint.safetensors"
    if not checkpoint.exists():
        raise SystemExit(f"{checkpoint} is not there: run examples/{run.name}.py first")
    arrays, _ = io.load(checkpoint)
    weights = {name[6:]: a for name, a in arrays.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    return model.eval()


def in_batches(function, x, size=250):
    return np.concatenate([function(x[i : i + size]) for i in range(0, len(x), size)])


def compare(model, x, score, what, path, axes):
    """A line for the model in 32 bits, and one in 8."""
    print(f"{path.stem}: bits, {what} in minidl and onnxruntime, largest difference, MB")
    for bits, found in ((32, model), (8, nn.quantize(model))):
        file = path.with_name(f"{path.stem}_{bits}.onnx")
        export(found, file, x[:2], axes=axes)
        session = onnxruntime.InferenceSession(str(file))
        name = session.get_inputs()[0].name
        with no_grad():
            ours = in_batches(lambda batch, f=found: f(tensor(batch)).numpy(), x)
        theirs = in_batches(lambda batch, s=session, n=name: s.run(None, {n: batch})[0], x)
        apart = abs(ours - theirs).max()
        size = file.stat().st_size / 1e6
        print(f"{bits:>4} {score(ours):.4f} {score(theirs):.4f} {apart:.0e} {size:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the examples wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/eight_bits"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    model = trained(fashion_cnn.network(), options.runs / "fashion_cnn")
    _, test = datasets.fashion_mnist(fallback=True)
    x, labels = test[:]
    compare(
        model, x, lambda y: (y.argmax(1) == labels).mean(), "accuracy",
        options.out / "fashion_cnn", ("N",),
    )  # fmt: skip

    text = datasets.prose()
    train, valid = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    encoding = BytePairEncoding.train(train, 512)
    model = nn.GPT(len(encoding), CONTEXT, width=128, heads=4, layers=3, dropout=0.1)
    trained(model, options.runs / "tiny_gpt")
    ids, following = next_token_pairs(encoding.encode(valid), CONTEXT)
    compare(
        model, ids, lambda y: np.exp(F.cross_entropy(tensor(y), tensor(following)).item()),
        "perplexity", options.out / "tiny_gpt", ("N", "T"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
