"""3,000 small garments of Fashion-MNIST, for lessons without a network; writes fashion.npz.

    python course/data/fashion.py          the file lies beside this one

Needs Fashion-MNIST itself: Debian's package dataset-fashion-mnist, or a download of 30 MB.  The
images are those of Zalando Research (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), under the
MIT licence, copyright 2017 Zalando SE: https://github.com/zalandoresearch/fashion-mnist.

In the file: `x` (2500, 14, 14) and `y` (2500,) of the training set, `x_test` (500, 14, 14) and
`y_test` (500,) of the test set; of each class the same number, the first ones, in the set's own
order.  A pixel is the mean of 2 x 2, rounded, in 0 to 255; a label is in 0 to 9.
"""

from pathlib import Path

import numpy as np

from minidl.data import datasets

FILE = Path(__file__).with_suffix(".npz")
TRAIN, TEST = 250, 50  # of each class


def small(part, n):
    """The first `n` images of each class, half as high and wide, and their labels."""
    x, y = part[:]  # (N, 1, 28, 28) in [0, 1], (N,)
    kept = np.sort(np.concatenate([np.flatnonzero(y == k)[:n] for k in range(10)]))
    squares = x[kept, 0].reshape(-1, 14, 2, 14, 2)  # (n, 28, 28) -> 14 x 14 squares of 2 x 2
    means = 255 * squares.mean(axis=(2, 4), dtype=np.float64)
    return np.rint(means).astype(np.uint8), y[kept].astype(np.uint8)


def main():
    train, test = datasets.fashion_mnist()
    (x, y), (x_test, y_test) = small(train, TRAIN), small(test, TEST)
    np.savez_compressed(FILE, x=x, y=y, x_test=x_test, y_test=y_test)
    print(f"{FILE.name}: {len(x)} + {len(x_test)} garments, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
