"""Images before they reach the network: cut, turned, varied, mixed, and read from a folder.

The one rule of this file: NumPy images x (N, C, H, W), floats in [0, 1], become new ones; chance,
for each image anew, comes from the numpy Generator `rng` alone.  A size: pixels, or a pair (H, W).

Explained in course/11.
"""

from functools import reduce
from pathlib import Path

import numpy as np

from .loader import ArrayDataset


def _check(name, x, rng=None, h=1, w=1):
    fits = isinstance(x, np.ndarray) and x.ndim == 4 and x.dtype.kind == "f"
    if not (fits and x.shape[2] >= h and x.shape[3] >= w):
        got = f"{getattr(x, 'dtype', type(x).__name__)} {getattr(x, 'shape', '')}"
        raise ValueError(f"{name}: expected NumPy floats (N, C, H, W), at least {h} x {w} pixels, "
                         f"got {got}; bytes are x / 255, one image x[None]")  # fmt: skip
    if not isinstance(rng, np.random.Generator | None):
        raise ValueError(f"{name}: expected a numpy Generator as rng, got {rng!r:.60}")


def _numbers(name, value, n=2, low=1, high=2**31, kinds="iu"):
    """`value`, one number or n in [low, high], of these kinds of dtype, as an array (n,)."""
    a = np.asarray(value)
    if a.shape not in ((), (n,)) or a.dtype.kind not in kinds or ((a < low) | ~(a <= high)).any():
        wanted = f"{'whole ' * (kinds == 'iu')}numbers in [{low}, {high}], one or {n}"
        raise ValueError(f"{name}: expected {wanted}, got {value!r:.60}")
    return np.broadcast_to(a, n)


def resize(x, size):
    """x in another size, bilinear: PyTorch's interpolate with align_corners and antialias off."""
    _check("resize", x)
    for axis, n in zip((2, 3), _numbers("resize: size", size)):
        places = np.clip((np.arange(n) + 0.5) * x.shape[axis] / n - 0.5, 0, x.shape[axis] - 1)
        shares = np.maximum(0, 1 - abs(places[:, None] - np.arange(x.shape[axis])))  # (new, old)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ shares.T.astype(x.dtype), -1, axis)
    return x


def crop(x, rng=None, *, size, padding=0):
    """A part of each image with `padding` zeros around it: the middle, or with `rng` any."""
    (h, w), (up, side) = _numbers("crop: size", size), _numbers("crop: padding", padding, low=0)
    _check("crop", x, rng, h - 2 * up, w - 2 * side)
    framed = np.pad(x, ((0, 0), (0, 0), (up, up), (side, side)))
    parts = np.lib.stride_tricks.sliding_window_view(framed, (h, w), axis=(2, 3))
    top, left = (rng.integers(n, size=len(x)) if rng else (n - 1) // 2 for n in parts.shape[2:4])
    return parts[np.arange(len(x)), :, top, left]  # (N, C, places, places, h, w) -> (N, C, h, w)


def flip(x, rng=None, *, p=0.5):
    """Left and right exchanged, in every image, or with `rng` in each with probability p."""
    _check("flip", x, rng)
    _numbers("flip: p", p, 1, low=0, high=1, kinds="iuf")
    return np.where(rng.random((len(x), 1, 1, 1)) < p if rng else True, x[..., ::-1], x)


def rotate(x, rng=None, *, degrees):
    """x turned counterclockwise around its centre by `degrees`, a number or (N,), or with `rng` by
    an angle uniform in ±degrees; bilinear, zero where nothing was.
    """
    _check("rotate", x, rng)
    degrees = _numbers("rotate: degrees", degrees, len(x), low=-(2**31), kinds="iuf")
    angle = np.deg2rad(degrees * rng.uniform(-1, 1, len(x)) if rng else degrees).reshape(-1, 1, 1)
    bottom, right = (x.shape[2] - 1) / 2, (x.shape[3] - 1) / 2
    i, j = np.ogrid[-bottom : bottom + 0.5, -right : right + 0.5]  # places, seen from the centre
    source = (j + 1j * i) * np.exp(1j * angle)  # (N, H, W), between the pixels of x
    rows, cols = source.imag + bottom, source.real + right
    framed = np.pad(x.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))  # (N, H, W, C)
    image, y = np.arange(len(x)).reshape(-1, 1, 1), 0
    for down, aside in np.ndindex(2, 2):  # the four pixels around
        i, j = np.floor(rows) + down, np.floor(cols) + aside
        weight = ((1 - abs(rows - i)) * (1 - abs(cols - j))).astype(x.dtype)
        i, j = (np.clip(a + 1, 0, n + 1).astype(int) for a, n in zip((i, j), x.shape[2:]))
        y = y + framed[image, i, j] * weight[..., None]
    return np.ascontiguousarray(y.transpose(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W)


def normalize(x, mean, std, *, inverse=False):
    """(x - mean) / std, or its inverse x * std + mean; mean and std: a number for each channel."""
    _check("normalize", x)
    mean, std = (np.asarray(v, x.dtype).reshape(x.shape[1], 1, 1) for v in (mean, std))
    return x * std + mean if inverse else (x - mean) / std


def color_jitter(x, rng, *, brightness=0.0, contrast=0.0, saturation=0.0):
    """x with its distance from black (brightness), then from the image's mean grey (contrast), then
    from each pixel's grey (saturation) times a factor uniform in [1 - it, 1 + it], cut to [0, 1].
    """
    _check("color_jitter", x, rng)
    amounts = _numbers("color_jitter", (brightness, contrast, saturation), 3, 0, kinds="iuf")
    shares = [0.299, 0.587, 0.114] if x.shape[1] == 3 else None  # ITU-R 601, how bright each looks
    for kind, amount in enumerate(amounts):
        factor = rng.uniform(max(0, 1 - amount), 1 + amount, (len(x), 1, 1, 1)).astype(x.dtype)
        grey = np.average(x, axis=1, weights=shares, keepdims=True).astype(x.dtype)
        away_from = (0, grey.mean((2, 3), keepdims=True), grey)[kind]
        x = np.clip(factor * x + (1 - factor) * away_from, 0, 1)
    return x


def cutout(x, rng, *, size):
    """x with zeros in a rectangle around any pixel, cut at the border (DeVries and Taylor 2017)."""
    _check("cutout", x, rng)
    (h, w), y = _numbers("cutout: size", size, low=0), x.copy()
    for image in y:
        top, left = (rng.integers(n) - s // 2 for n, s in zip(x.shape[2:], (h, w)))
        image[:, max(top, 0) : top + h, max(left, 0) : left + w] = 0
    return y


def mixup(batch, rng, *, classes, alpha=0.2):
    """A batch (x, labels) -> (x, targets), each sample mixed with another (Zhang et al. 2018).

    labels (N,) in [0, classes) -> targets (N, classes).  The share is drawn from Beta(alpha, alpha)
    for the batch, as in the paper's code.  Loss: -(targets * log_softmax(y)).sum(axis=-1).mean().
    """
    x, labels = batch
    labels = _numbers("mixup: labels", labels, len(x), 0, classes - 1)
    share, other = rng.beta(alpha, alpha), rng.permutation(len(x))
    one_hot = np.eye(classes, dtype=x.dtype)[labels]
    return tuple(share * a + (1 - share) * a[other] for a in (x, one_hot))


def augment(*functions):
    """A DataLoader's transform: functions (x, rng) -> x in turn, on the images, not the labels:
    augment(flip, partial(crop, size=28, padding=2)), with functools.partial for the options.
    """

    def transform(batch, rng):
        return reduce(lambda x, function: function(x, rng), functions, batch[0]), *batch[1:]

    return transform


def read_folder(path, size=None):
    """An ArrayDataset of a folder with a folder of images for each class, hidden files left out.

    x (N, 3, H, W), float32 in [0, 1], y (N,); classes: the folders' names, sorted.  Pillow brings
    images to `size`.  Raises ValueError for a file that is broken or, size None, of another size.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError('read_folder needs Pillow: pip install "minidl[images]"') from error
    files = sorted(Path(path).glob("[!.]*/[!.]*"))
    classes = sorted(p.name for p in Path(path).glob("[!.]*") if p.is_dir())
    if not files:
        raise ValueError(f"{path}: expected folders, one for each class, with images in them")
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                image = ImageOps.exif_transpose(image).convert("RGB")
            image = image if size is None else image.resize(_numbers("size", size)[::-1])
            images.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)  # (C, H, W)
            if images[0].shape != images[-1].shape:
                raise ValueError(f"{image.size} pixels, not as before; give read_folder a size")
        except Exception as error:
            raise ValueError(f"{file} cannot be used: {error}") from error
    y = np.array([classes.index(file.parent.name) for file in files])
    return ArrayDataset(np.stack(images), y, classes=classes)
