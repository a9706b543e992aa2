"""Images before they reach the network: cut, turned, varied, mixed, and read from a folder.

The one rule of this file: NumPy images x (N, C, H, W), floats in [0, 1], become new ones of
the same type.  What is left to chance is drawn for each image anew, from the numpy Generator `rng`
alone.  A size is a number of pixels, or a pair (height, width).

Explained in course/11.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import advice
from .loader import ArrayDataset


def _check(name, x, rng=None, h=1, w=1, needed=False):
    fits = isinstance(x, np.ndarray) and x.ndim == 4 and x.dtype.kind == "f"
    if not (fits and x.shape[2] >= h and x.shape[3] >= w):
        got = f"{getattr(x, 'dtype', type(x).__name__)} {getattr(x, 'shape', '')}"
        raise ValueError(f"{name}: expected NumPy floats (N, C, H, W), at least {h} x {w} pixels, "
                         f"got {got}; bytes are x / 255, one image x[None]")  # fmt: skip
    if not (isinstance(rng, np.random.Generator) or (rng is None and not needed)):
        raise ValueError(f"{name}: expected a numpy Generator as rng, got {rng!r:.60}")


def _numbers(name, value, n=2, low=1, high=2**31, kinds="iu"):
    """`value`, one number or n in [low, high], of these kinds of dtype, as an array (n,)."""
    a = np.asarray(value)
    if a.shape not in ((), (n,)) or a.dtype.kind not in kinds or ((a < low) | ~(a <= high)).any():
        wanted = f"{'whole ' * (kinds == 'iu')}numbers in [{low}, {high}], one or {n}"
        raise ValueError(f"{name}: expected {wanted}, got {value!r:.60}")
    return np.broadcast_to(a, n)


def resize(x: np.ndarray, size: int | Sequence[int]) -> np.ndarray:
    """The images in another size: x (N, C, H, W) -> (N, C, *size).

    Each new pixel is a mean of the four old ones around its place, nearer ones counting more
    (bilinear), as in PyTorch's interpolate with align_corners=False and antialias=False.
    """
    _check("resize", x)
    for axis, n in zip((2, 3), _numbers("resize: size", size)):
        # The middle of each new pixel, in pixels of x.
        places = np.clip((np.arange(n) + 0.5) * x.shape[axis] / n - 0.5, 0, x.shape[axis] - 1)
        shares = np.maximum(0, 1 - abs(places[:, None] - np.arange(x.shape[axis])))  # (new, old)
        # (..., old) @ (old, new) -> (..., new)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ shares.T.astype(x.dtype), -1, axis)
    return x


def crop(
    x: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    size: int | Sequence[int],
    padding: int | Sequence[int] = 0,
) -> np.ndarray:
    """A part of each image: x (N, C, H, W) -> (N, C, *size).

    Without `rng` the middle, with it any part, all of them being as likely.
    padding: how many pixels of zeros are first put around the image; a pair: above and below, at
    the sides.
    """
    h, w = _numbers("crop: size", size)
    up, side = _numbers("crop: padding", padding, low=0)
    _check("crop", x, rng, h - 2 * up, w - 2 * side)
    framed = np.pad(x, ((0, 0), (0, 0), (up, up), (side, side)))
    parts = np.lib.stride_tricks.sliding_window_view(framed, (h, w), axis=(2, 3))
    top, left = (rng.integers(n, size=len(x)) if rng else (n - 1) // 2 for n in parts.shape[2:4])
    return parts[np.arange(len(x)), :, top, left]  # (N, C, places, places, h, w) -> (N, C, h, w)


def flip(x: np.ndarray, rng: np.random.Generator | None = None, *, p: float = 0.5) -> np.ndarray:
    """The images with left and right exchanged.

    Without `rng` all of them, with it each with probability p.
    """
    _check("flip", x, rng)
    _numbers("flip: p", p, 1, low=0, high=1, kinds="iuf")
    return np.where(rng.random((len(x), 1, 1, 1)) < p if rng else True, x[..., ::-1], x)


def rotate(
    x: np.ndarray, rng: np.random.Generator | None = None, *, degrees: ArrayLike
) -> np.ndarray:
    """The images turned counterclockwise around their centres, in frames of the same size.

    degrees: by how much, a number for all or (N,); with `rng` each image is turned by an angle
    that is uniform in [-degrees, degrees].  A pixel is a mean of the four around the place where it
    comes from, nearer ones counting more (bilinear); what comes from outside the image is 0.
    """
    _check("rotate", x, rng)
    degrees = _numbers("rotate: degrees", degrees, len(x), low=-(2**31), kinds="iuf")
    if rng:
        degrees = degrees * rng.uniform(-1, 1, len(x))
    angle = np.deg2rad(degrees).reshape(-1, 1, 1)  # (N,) -> (N, 1, 1)
    bottom, right = (x.shape[2] - 1) / 2, (x.shape[3] - 1) / 2
    i, j = np.ogrid[-bottom : bottom + 0.5, -right : right + 0.5]  # places, seen from the centre
    source = (j + 1j * i) * np.exp(1j * angle)  # (N, H, W), between the pixels of x
    rows, cols = source.imag + bottom, source.real + right
    framed = np.pad(x.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))  # (N, H, W, C)
    image = np.arange(len(x)).reshape(-1, 1, 1)  # (N,) -> (N, 1, 1)
    y = np.zeros((*rows.shape, x.shape[1]), x.dtype)  # (N, H, W, C)
    for down, aside in np.ndindex(2, 2):  # the four pixels around
        i, j = np.floor(rows) + down, np.floor(cols) + aside
        weight = ((1 - abs(rows - i)) * (1 - abs(cols - j))).astype(x.dtype)
        i, j = (np.clip(a + 1, 0, n + 1).astype(int) for a, n in zip((i, j), x.shape[2:]))
        y = y + framed[image, i, j] * weight[..., None]
    return np.ascontiguousarray(y.transpose(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W)


def normalize(
    x: np.ndarray, mean: ArrayLike, std: ArrayLike, *, inverse: bool = False
) -> np.ndarray:
    """(x - mean) / std, or with `inverse` the way back, x * std + mean.

    mean, std (C,): a number for each channel.
    """
    _check("normalize", x)
    # (C,) -> (C, 1, 1)
    mean, std = (np.asarray(v, x.dtype).reshape(x.shape[1], 1, 1) for v in (mean, std))
    return x * std + mean if inverse else (x - mean) / std


def color_jitter(
    x: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
) -> np.ndarray:
    """The images with other brightness, contrast and saturation, changed in this order.

    brightness: multiplies each image's distance from black by a factor that is drawn uniformly from
    [1 - brightness, 1 + brightness], or [0, 1 + brightness] where that is above 1.
    contrast: likewise, of the distance from the image's mean grey.
    saturation: likewise, of the distance of each pixel from its own grey.
    After each the pixels are cut to [0, 1].
    """
    _check("color_jitter", x, rng, needed=True)
    amounts = _numbers("color_jitter", (brightness, contrast, saturation), 3, 0, kinds="iuf")
    shares = [0.299, 0.587, 0.114] if x.shape[1] == 3 else None  # ITU-R 601, how bright each looks
    for kind, amount in enumerate(amounts):
        factor = rng.uniform(max(0, 1 - amount), 1 + amount, (len(x), 1, 1, 1)).astype(x.dtype)
        grey = np.average(x, axis=1, weights=shares, keepdims=True).astype(x.dtype)
        # the mean grey: (N, 1, H, W) -> (N, 1, 1, 1)
        away_from = (0, grey.mean((2, 3), keepdims=True), grey)[kind]
        x = np.clip(factor * x + (1 - factor) * away_from, 0, 1)
    return x


def cutout(x: np.ndarray, rng: np.random.Generator, *, size: int | Sequence[int]) -> np.ndarray:
    """The images with a rectangle of zeros in each (DeVries and Taylor 2017).

    The rectangle's middle is any pixel of the image, so that a part of it may lie outside.
    """
    _check("cutout", x, rng, needed=True)
    h, w = _numbers("cutout: size", size, low=0)
    y = x.copy()
    for image in y:
        top, left = (rng.integers(n) - s // 2 for n, s in zip(x.shape[2:], (h, w)))
        image[:, max(top, 0) : top + h, max(left, 0) : left + w] = 0
    return y


def mixup(
    batch: tuple[np.ndarray, ArrayLike],
    rng: np.random.Generator,
    *,
    classes: int,
    alpha: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """A batch whose samples are each mixed with another one (Zhang et al. 2018): (x, targets).

    batch: x (N, ...) and labels (N,), integers in [0, classes).
    targets (N, classes): the share of each of the two samples stands at its label.  They are
    probabilities, which the loss `cross_entropy` takes in place of labels.
    alpha: the share is drawn from Beta(alpha, alpha), once for the batch, as in the paper's code.
    """
    x, labels = batch
    labels = _numbers("mixup: labels", labels, len(x), 0, classes - 1)
    share, other = rng.beta(alpha, alpha), rng.permutation(len(x))
    one_hot = np.eye(classes, dtype=x.dtype)[labels]
    x, targets = (share * a + (1 - share) * a[other] for a in (x, one_hot))
    return x, targets


def augment(
    *functions: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> Callable[[tuple[Any, ...], np.random.Generator], tuple[Any, ...]]:
    """A DataLoader's transform: these functions (x, rng) -> x one after another, on the images of a
    batch; its labels stay.

    Options are given by functools.partial: augment(flip, partial(crop, size=28, padding=2)).
    """

    def transform(batch, rng):
        return reduce(lambda x, function: function(x, rng), functions, batch[0]), *batch[1:]

    return transform


def read_folder(path: str | PathLike[str], size: int | Sequence[int] | None = None) -> ArrayDataset:
    """The data set in a folder that has a folder of images for each class: x (N, 3, H, W), float32
    in [0, 1], and y (N,).

    classes: the folders' names, sorted; of one that is empty, there is a warning, and of an
    image that lies in none.  Hidden files and folders are left out.  Needs Pillow.
    size: what images are brought to; default: they stay as they are, and must all have one size.
    What is transparent becomes white.  Raises ValueError for a file that is no image, is broken,
    has another size, or 16 bits or floats in a pixel.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError('read_folder needs Pillow: pip install "minidl[images]"') from error
    if size is not None:
        size = _numbers("read_folder: size", size)[::-1]
    files = sorted(Path(path).glob("[!.]*/[!.]*"))
    here = sorted(p for p in Path(path).iterdir() if p.name[0] != ".")
    classes = [p.name for p in here if p.is_dir()]
    beside = [p.name for p in here if not p.is_dir()]
    if not files:
        raise ValueError(
            f"{path}: expected folders, one for each class, with images in them, got folders "
            f"{classes[:3]} and files {beside[:3]}; where these are images of one class, {path} is "
            "its folder: give the one above"
        )
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                image = _on_white(ImageOps.exif_transpose(image))
            if size is not None:
                image = image.resize(size)
            images.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)  # (C, H, W)
            if images[0].shape != images[-1].shape:
                raise ValueError(f"{image.size} pixels, not as before; give read_folder a size")
        except Exception as error:
            raise ValueError(
                f"{file} cannot be used: {error}; in the folder of a class are images alone"
            ) from error
    y = np.array([classes.index(file.parent.name) for file in files])
    if empty := sorted({*classes} - {file.parent.name for file in files}):
        warnings.warn(f"{path}: there is no image in {empty}, which count as classes", stacklevel=3)
    if stray := [name for name in beside if name.endswith(tuple(f.suffix for f in files))]:
        warnings.warn(f"{path}: {stray[:3]} are in the folder of no class: left out", stacklevel=3)
    return ArrayDataset(np.stack(images), y, classes=classes)


def _on_white(image):
    """A Pillow image in three bytes a pixel."""
    from PIL import Image

    if image.mode[0] in "IF":  # Pillow would cut them to 255, which is white
        raise ValueError(
            f"its pixels are of mode {image.mode}, not bytes: save it anew, "
            "Image.fromarray((np.asarray(image) / 257).astype('uint8')) if it has 16 bits"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
