"""Images: resizing, cutting and turning against PyTorch and slow loops; every batch repeatable."""

import math
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.data import ArrayDataset, DataLoader, images

DRAWING = [
    partial(images.crop, size=(3, 4), padding=1),
    images.flip,
    partial(images.rotate, degrees=40),
    partial(images.color_jitter, brightness=0.5, contrast=0.5, saturation=0.5),
    partial(images.cutout, size=3),
]


def some(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- resize, rotate


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "shape, size",
    [
        ((2, 3, 5, 7), (10, 14)), ((2, 3, 5, 7), (3, 9)), ((1, 1, 8, 8), 3), ((2, 1, 1, 1), (4, 2)),
        ((1, 2, 6, 5), (6, 5)), ((3, 1, 9, 2), 1), ((0, 3, 4, 4), 2),
    ],
)  # fmt: skip
def test_resize_is_pytorchs_interpolate(torch, shape, size, dtype):
    x = some(*shape, dtype=dtype)
    y = images.resize(x, size)
    size = (size, size) if isinstance(size, int) else size
    assert y.shape == (*shape[:2], *size) and y.dtype == x.dtype
    if len(x):
        wanted = torch.nn.functional.interpolate(
            torch.tensor(x), size=size, mode="bilinear", align_corners=False, antialias=False
        )
        tolerance = 1e-5 if dtype == "f4" else 1e-12
        np.testing.assert_allclose(y, wanted.numpy(), tolerance, tolerance)


def test_resize_by_hand():
    x = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert images.resize(x, (1, 4)).ravel().tolist() == [0, 0.25, 0.75, 1]
    assert images.resize(x, (2, 1)).ravel().tolist() == [0.5, 0.5]
    same = some(2, 3, 4, 5)
    np.testing.assert_array_equal(images.resize(same, (4, 5)), same)


@pytest.mark.parametrize("shape", [(3, 2, 6, 6), (3, 1, 5, 8), (3, 3, 1, 4)])
def test_rotate_is_pytorchs_grid(torch, shape):
    x, degrees = some(*shape, dtype=np.float64), np.array([0.0, 30.0, -117.5])
    height, width = shape[2:]
    theta = np.zeros((3, 2, 3))  # from the result's places to the input's, each in [-1, 1]
    for k, angle in enumerate(np.deg2rad(degrees)):
        theta[k, :, :2] = [
            [np.cos(angle), -np.sin(angle) * height / width],
            [np.sin(angle) * width / height, np.cos(angle)],
        ]
    grid = torch.nn.functional.affine_grid(torch.tensor(theta), shape, align_corners=False)
    wanted = torch.nn.functional.grid_sample(
        torch.tensor(x), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    y = images.rotate(x, degrees=degrees)
    np.testing.assert_allclose(y, wanted.numpy(), 1e-9, 1e-9)
    for k in range(3):
        alone = images.rotate(x[k : k + 1], degrees=degrees[k])
        np.testing.assert_allclose(alone[0], y[k], 1e-12)


def bilinear(image, row, col):
    """The mean of the four pixels around a place in an image (H, W); 0 outside."""
    total = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(col), math.floor(col) + 1):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total += image[i, j] * (1 - abs(row - i)) * (1 - abs(col - j))
    return total


@pytest.mark.parametrize("shape, size", [((2, 3, 5, 7), (10, 3)), ((1, 1, 2, 6), 4)])
def test_resize_against_a_slow_one(shape, size):
    x = some(*shape, dtype="f8")
    y = images.resize(x, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert y.shape == (*shape[:2], height, width)
    for n, c, i, j in np.ndindex(y.shape):
        row, col = (i + 0.5) * shape[2] / height - 0.5, (j + 0.5) * shape[3] / width - 0.5
        inside = min(max(row, 0), shape[2] - 1), min(max(col, 0), shape[3] - 1)
        np.testing.assert_allclose(y[n, c, i, j], bilinear(x[n, c], *inside), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 1, 4, 9), (2, 2, 9, 4)])
def test_rotate_against_a_slow_one(shape):
    """Long images, whose corners come from far outside on all sides."""
    x, degrees = some(*shape, dtype="f8"), np.array([40.0, -117.5])
    y = images.rotate(x, degrees=degrees)
    bottom, right = (shape[2] - 1) / 2, (shape[3] - 1) / 2
    for n, c, i, j in np.ndindex(shape):
        cos, sin = math.cos(math.radians(degrees[n])), math.sin(math.radians(degrees[n]))
        down, aside = i - bottom, j - right
        row, col = bottom + down * cos + aside * sin, right + aside * cos - down * sin
        wanted = bilinear(x[n, c], row, col)
        np.testing.assert_allclose(y[n, c, i, j], wanted, rtol=1e-9, atol=1e-12)


def test_rotate_by_quarters_is_counterclockwise_and_exact():
    x = some(2, 3, 5, 5)
    for quarters in range(-2, 5):
        wanted = np.rot90(x, quarters, axes=(2, 3))
        np.testing.assert_allclose(images.rotate(x, degrees=90 * quarters), wanted, 1e-6, 1e-6)
    assert images.rotate(x, degrees=10.0).dtype == np.float32


def test_rotate_at_random_stays_within_its_degrees():
    x = some(400, 1, 6, 6)
    y = images.rotate(x, rng(3), degrees=20)
    angles = 20 * rng(3).uniform(-1, 1, 400)
    np.testing.assert_array_equal(y, images.rotate(x, degrees=angles))
    assert angles.min() < -19 and angles.max() > 19


# ---- crop, flip


def slow_crop(image, top, left, height, width):
    y = np.zeros((len(image), height, width), image.dtype)
    for c, i, j in np.ndindex(y.shape):
        if 0 <= top + i < image.shape[1] and 0 <= left + j < image.shape[2]:
            y[c, i, j] = image[c, top + i, left + j]
    return y


@pytest.mark.parametrize(
    "shape, size, padding",
    [((2, 3, 6, 7), 4, 0), ((2, 1, 5, 5), (5, 2), 0), ((1, 2, 4, 4), 6, 1),
     ((2, 1, 4, 5), 4, (2, 1)), ((1, 1, 1, 1), 1, 0), ((0, 3, 4, 4), 2, 1)],
)  # fmt: skip
def test_crop_takes_the_middle_or_any_part(shape, size, padding):
    x = some(*shape)
    h, w = (size, size) if isinstance(size, int) else size
    up, side = (padding, padding) if isinstance(padding, int) else padding
    down, across = shape[2] + 2 * up - h + 1, shape[3] + 2 * side - w + 1  # places
    middle = images.crop(x, size=size, padding=padding)
    assert middle.shape == (*shape[:2], h, w) and middle.dtype == x.dtype
    for image, y in zip(x, middle):
        wanted = slow_crop(image, (down - 1) // 2 - up, (across - 1) // 2 - side, h, w)
        np.testing.assert_array_equal(y, wanted)
    drawn = rng(5)
    y = images.crop(x, rng(5), size=size, padding=padding)
    tops, lefts = drawn.integers(down, size=len(x)), drawn.integers(across, size=len(x))
    for k in range(len(x)):
        wanted = slow_crop(x[k], tops[k] - up, lefts[k] - side, h, w)
        np.testing.assert_array_equal(y[k], wanted)


def test_a_random_crop_reaches_every_place_and_differs_from_image_to_image():
    x = np.broadcast_to(np.arange(16.0).reshape(1, 1, 4, 4), (500, 1, 4, 4))
    corners = images.crop(x, rng(), size=2)[:, 0, 0, 0]
    assert sorted(set(corners)) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert np.bincount(corners.astype(int))[[0, 5, 10]].min() > 30


def test_a_crop_is_no_view():
    x = some(1, 1, 3, 3)
    images.crop(x, size=2)[:] = 5
    assert x.max() < 1


def test_flip():
    x = some(1000, 1, 2, 3)
    np.testing.assert_array_equal(images.flip(x), x[:, :, :, ::-1])
    for p in (0.0, 0.25, 1.0):
        y = images.flip(x, rng(), p=p)
        flipped = (y == x[..., ::-1]).all((1, 2, 3))
        np.testing.assert_array_equal(flipped | (y == x).all((1, 2, 3)), True)
        assert abs(flipped.mean() - p) < 0.05
    assert images.flip(x[:0], rng()).shape == (0, 1, 2, 3)


# ---- values


def test_normalize_and_back():
    x, mean, std = some(4, 3, 5, 5), [0.5, 0.4, 0.3], [0.1, 0.2, 0.4]
    y = images.normalize(x, mean, std)
    assert y.dtype == np.float32
    for c in range(3):
        np.testing.assert_allclose(y[:, c], (x[:, c] - mean[c]) / std[c], 1e-5, 1e-6)
    np.testing.assert_allclose(images.normalize(y, mean, std, inverse=True), x, 1e-5, 1e-6)
    grey = images.normalize(x[:, :1], x[:, 0].mean(), x[:, 0].std())
    assert abs(grey.mean()) < 1e-6 and abs(grey.std() - 1) < 1e-5


@pytest.mark.parametrize("mean, std", [([0.5, 0.5], 1), (0.5, 1), ([0.5] * 3, [1] * 4)])
def test_normalize_wants_a_number_for_each_channel(mean, std):
    with pytest.raises(ValueError, match=r"into shape \(3,1,1\)"):
        images.normalize(some(2, 3, 4, 4), mean, std)


def slow_jitter(image, brightness, contrast, saturation):
    """Pixel by pixel, with the factors given."""

    def grey(r, g, b):
        return 0.299 * r + 0.587 * g + 0.114 * b

    y = np.clip(image * brightness, 0, 1)
    places = list(np.ndindex(y.shape[1:]))
    mean = sum(grey(*y[:, i, j]) for i, j in places) / len(places)
    y = np.clip(mean + contrast * (y - mean), 0, 1)
    for i, j in places:
        own = grey(*y[:, i, j])
        y[:, i, j] = np.clip(own + saturation * (y[:, i, j] - own), 0, 1)
    return y


@pytest.mark.parametrize("amounts", [(0.4, 0.3, 0.5), (0, 0, 0.9), (1.5, 0, 0), (0, 2.0, 0)])
def test_color_jitter_against_a_slow_one(amounts):
    x = some(3, 3, 4, 5, dtype=np.float64)
    options = dict(zip(["brightness", "contrast", "saturation"], amounts))
    drawn, y = rng(2), images.color_jitter(x, rng(2), **options)
    factors = [drawn.uniform(max(0, 1 - a), 1 + a, (3, 1, 1, 1)).ravel() for a in amounts]
    for k in range(3):
        np.testing.assert_allclose(y[k], slow_jitter(x[k], *(f[k] for f in factors)), 1e-9, 1e-9)
    assert y.min() >= 0 and y.max() <= 1


def test_color_jitter_of_one_channel_and_of_nothing():
    x = some(5, 1, 4, 4)
    np.testing.assert_array_equal(images.color_jitter(x, rng()), x)
    np.testing.assert_allclose(images.color_jitter(x, rng(), saturation=0.9), x, 1e-6, 1e-6)
    y = images.color_jitter(x, rng(), contrast=0.3)
    assert y.dtype == np.float32
    assert not np.allclose(x, y), "nothing changed"
    grey = np.repeat(x, 3, axis=1)  # a grey picture stays grey
    y = images.color_jitter(grey, rng(), brightness=0.2, contrast=0.2, saturation=0.9)
    np.testing.assert_allclose(y, np.repeat(y[:, :1], 3, axis=1), 1e-5, 1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, (2, 5), 9, 0])
def test_cutout_against_a_slow_one(size):
    x, drawn = some(30, 2, 5, 6) + 1, rng(7)
    y = images.cutout(x, rng(7), size=size)
    h, w = (size, size) if isinstance(size, int) else size
    for image, found in zip(x, y):
        i, j = drawn.integers(5), drawn.integers(6)
        for c, a, b in np.ndindex(image.shape):
            inside = 0 <= a - i + h // 2 < h and 0 <= b - j + w // 2 < w
            assert found[c, a, b] == (0 if inside else image[c, a, b])
    assert x.min() >= 1, "the input is left alone"
    assert y.dtype == x.dtype


def test_mixup_mixes_inputs_and_targets_alike():
    x, labels = some(6, 1, 2, 2), np.array([0, 2, 1, 1, 0, 2])
    y, targets = images.mixup((x, labels), rng(4), classes=3, alpha=1.0)
    drawn = rng(4)
    share, other = drawn.beta(1.0, 1.0), drawn.permutation(6)
    assert y.dtype == targets.dtype == np.float32 and targets.shape == (6, 3)
    for k in range(6):
        np.testing.assert_allclose(y[k], share * x[k] + (1 - share) * x[other[k]], 1e-5)
        wanted = np.zeros(3)
        wanted[labels[k]] += share
        wanted[labels[other[k]]] += 1 - share
        np.testing.assert_allclose(targets[k], wanted, 1e-5, 1e-7)
    for wrong in (labels, labels - 1, labels[:5], labels[:, None], labels / 2, "012110"):
        with pytest.raises(
            ValueError, match=r"labels: expected whole numbers in \[0, 1\].* or 6, got"
        ):
            images.mixup((x, wrong), rng(), classes=2)
    bright = np.full((2, 1), 200, np.uint8)
    assert (images.mixup((bright, [0, 1]), rng(), classes=2)[0] == 200).all(), "bytes, too"


def test_mixups_share_follows_beta():
    x, shares = np.array([[0.0], [1.0]], "f"), []
    draws = rng(0)
    for _ in range(2000):
        y, _ = images.mixup((x, np.array([0, 1])), draws, classes=2, alpha=0.2)
        shares.append(y[0, 0])
    assert abs(np.mean(shares) - 0.25) < 0.03  # half of the pairs are a sample with itself
    assert np.mean((np.array(shares) > 0.2) & (np.array(shares) < 0.8)) < 0.2


# ---- in a loader


def test_augment_leaves_labels_alone_and_a_batch_is_a_function_of_its_place():
    dataset = ArrayDataset(some(20, 3, 5, 6), np.arange(20), np.arange(20) * 2)

    def loader(prefetch):
        transform = images.augment(*DRAWING, lambda x, rng: images.normalize(x, [0.5] * 3, [1] * 3))
        return DataLoader(dataset, 4, shuffle=True, seed=3, transform=transform, prefetch=prefetch)

    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    whole = list(loader(0).batches(2))
    for x, y, z in whole:
        assert x.shape == (4, 3, 3, 4)
        np.testing.assert_array_equal(2 * y, z)
    assert sorted(np.concatenate([y for _, y, _ in whole])) == list(range(20))
    for start in (0, 3):
        for batch, wanted in zip(loader(2).batches(2, start), whole[start:], strict=True):
            for a, b in zip(batch, wanted, strict=True):
                np.testing.assert_array_equal(a, b)
    assert (next(iter(loader(0).batches(1)))[0] != whole[0][0]).any(), "epochs are the same"
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("function", DRAWING, ids=lambda f: getattr(f, "func", f).__name__)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_type_range_and_input_are_kept_and_nothing_is_too_small(function, dtype):
    for shape in [(4, 3, 5, 6), (0, 3, 5, 6), (1, 1, 3, 4)]:
        x = some(*shape, dtype=dtype)
        kept = x.copy()
        y = function(x, rng())
        assert y.dtype == x.dtype and y.shape[:2] == shape[:2]
        assert not y.size or (y.min() >= 0 and y.max() <= 1 + 1e-6)
        assert not np.shares_memory(x, y)
        np.testing.assert_array_equal(x, kept)


@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.floats(-720, 720)
)
def test_resize_and_rotate_stay_between_the_smallest_and_the_largest(h, w, new_h, new_w, degrees):
    x = some(2, 1, h, w, dtype=np.float64)
    y = images.resize(x, (new_h, new_w))
    assert y.min() >= x.min() - 1e-12 and y.max() <= x.max() + 1e-12
    y = images.rotate(x, degrees=degrees)
    assert y.min() >= 0 and y.max() <= x.max() + 1e-12


@pytest.mark.parametrize(
    "x", [some(3, 4, 4), some(4, 4), np.zeros((1, 3, 4, 4), np.uint8), np.zeros((1, 3, 0, 4), "f")],
    ids=["one image", "one channel", "bytes", "no pixel"],
)  # fmt: skip
@pytest.mark.parametrize(
    "function",
    [*DRAWING, lambda x, rng: images.resize(x, 3), lambda x, rng: images.normalize(x, 0, 1)],
)
def test_what_is_no_batch_of_images_is_refused(function, x):
    with pytest.raises(
        ValueError, match=r"expected NumPy floats \(N, C, H, W\).*got (uint8|float32) \("
    ):
        function(x, rng())


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(
        ValueError, match=r"crop: .*at least 5 x 3 pixels, got float32 \(2, 1, 4, 4"
    ):
        images.crop(some(2, 1, 4, 4), size=(7, 5), padding=1)


# ---- a folder


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image", reason="waits for Pillow")


@pytest.fixture
def folder(tmp_path, pillow):
    """Red is (255, 0, 0), in one image half transparent; blue holds a grey and an indexed one."""
    (tmp_path / "red").mkdir()
    (tmp_path / "blue").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("not a class", encoding="utf-8")
    (tmp_path / "red" / ".DS_Store").write_text("not an image", encoding="utf-8")
    pillow.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "red" / "b.png")
    pillow.new("RGBA", (6, 4), (255, 0, 0, 128)).save(tmp_path / "red" / "a.png")
    pillow.new("L", (6, 4), 51).save(tmp_path / "blue" / "grey.bmp")
    pillow.new("RGB", (6, 4), (0, 0, 255)).convert("P").save(tmp_path / "blue" / "indexed.gif")
    return tmp_path


def test_read_folder(folder):
    dataset = images.read_folder(str(folder))
    x, y = dataset[:]
    assert dataset.classes == ["blue", "red"]
    assert x.shape == (4, 3, 4, 6) and x.dtype == np.float32
    assert y.tolist() == [0, 0, 1, 1] and y.dtype == np.int64
    np.testing.assert_allclose(
        x[:, :, 1, 2], [[0.2] * 3, [0, 0, 1], [1, 127 / 255, 127 / 255], [1, 0, 0]], atol=1e-6
    )


def test_read_folder_keeps_rows_and_columns_and_turns_photographs(tmp_path, pillow):
    (tmp_path / "c").mkdir()
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    image = pillow.fromarray(pixels)
    image.save(tmp_path / "c" / "a.png")
    x, _ = images.read_folder(tmp_path)[:]
    np.testing.assert_allclose(x[0], pixels.transpose(2, 0, 1) / 255, 1e-6)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright: to be turned clockwise
    image.save(tmp_path / "c" / "a.png", exif=exif)
    x, _ = images.read_folder(tmp_path)[:]
    np.testing.assert_allclose(x[0], np.rot90(pixels, -1).transpose(2, 0, 1) / 255, 1e-6)


def test_read_folder_brings_images_to_one_size(folder, pillow):
    pillow.new("RGB", (9, 8), (0, 255, 0)).save(folder / "red" / "c.jpg")
    with pytest.raises(ValueError, match=r"c\.jpg cannot be used: .*\(9, 8\).*give .* a size"):
        images.read_folder(folder)
    assert images.read_folder(folder, 5).arrays[0].shape == (5, 3, 5, 5)
    x, _ = images.read_folder(folder, (2, 7))[:]
    assert x.shape == (5, 3, 2, 7)
    np.testing.assert_allclose(x[-1].mean((1, 2)), [0, 1, 0], atol=0.02)


def test_read_folder_names_what_is_wrong(folder, tmp_path_factory):
    whole = (folder / "red" / "a.png").read_bytes()
    for content in (b"GIF89a?", b"text", b"", whole[: len(whole) - 30]):
        (folder / "red" / "z.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"red.z\.png cannot be used: .*are images alone"):
            images.read_folder(folder)
    empty = tmp_path_factory.mktemp("empty")
    (empty / "class").mkdir()
    with pytest.raises(ValueError, match="expected folders, one for each class, with images"):
        images.read_folder(empty)
    with pytest.raises(ValueError, match=r"files \['a\.png', .* give the one above"):
        images.read_folder(folder / "red")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        images.read_folder(empty / "nowhere")


def test_a_class_may_be_empty_and_keeps_its_number(folder):
    (folder / "a new one").mkdir()
    with pytest.warns(UserWarning, match=r"there is no image in \['a new one'\]") as told:
        dataset = images.read_folder(folder)
    assert told[0].filename == __file__, "the warning shows the caller's line"
    assert dataset.classes == ["a new one", "blue", "red"]
    assert dataset.arrays[1].tolist() == [1, 1, 2, 2]


def test_an_image_in_no_class_is_told_of_and_another_file_is_not(folder, pillow):
    pillow.new("RGB", (6, 4)).save(folder / "lost.png")
    with pytest.warns(UserWarning, match=r"\['lost\.png'\] are in the folder of no class") as told:
        assert len(images.read_folder(folder)) == 4
    assert told[0].filename == __file__


def test_what_is_transparent_is_white(tmp_path, pillow):
    """Beneath what is transparent lies any colour, such as black, which nobody has seen."""
    (tmp_path / "a").mkdir()
    for name, colour in [
        ("1.png", (0, 0, 0, 0)),
        ("2.png", (0, 0, 0, 255)),
        ("3.png", (0, 0, 0, 51)),
    ]:
        pillow.new("RGBA", (1, 1), colour).save(tmp_path / "a" / name)
    indexed = pillow.new("P", (1, 1), 0)
    indexed.putpalette([0, 255, 0])
    indexed.save(tmp_path / "a" / "4.png", transparency=0)
    x, _ = images.read_folder(tmp_path)[:]
    np.testing.assert_allclose(x[:, :, 0, 0], [[1] * 3, [0] * 3, [0.8] * 3, [1] * 3], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_images_that_are_not_of_bytes_are_refused(tmp_path, pillow, dtype):
    """Pillow cuts what is above 255 to 255: a picture of 16 bits became white."""
    (tmp_path / "a").mkdir()
    pillow.fromarray(np.full((2, 2), 1000, dtype)).save(tmp_path / "a" / "b.tiff")
    with pytest.raises(ValueError, match=r"b\.tiff cannot be used: its pixels are of mode [IF]"):
        images.read_folder(tmp_path)


def test_without_pillow_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "minidl\[images\]"'):
        images.read_folder(tmp_path)


# ---- what cannot be


X = some(4, 1, 4, 4)


@pytest.mark.parametrize("wrong", [-1, (3,), (3, -1), (1, 2, 3), 2.5, "3", None, [[3, 3]], True])
def test_sizes_that_cannot_be(wrong):
    for call in (
        lambda: images.resize(X, wrong),
        lambda: images.crop(X, size=wrong),
        lambda: images.crop(X, size=3, padding=wrong),
        lambda: images.cutout(X, rng(), size=wrong),
    ):
        with pytest.raises(
            ValueError, match=r"(size|padding): expected whole numbers in \[.* got "
        ):
            call()
    for none in (0, (0, 3), (3, 0)):
        for function in (partial(images.resize, X), partial(images.crop, X)):
            with pytest.raises(ValueError, match=r"size: expected whole numbers in \[1, "):
                function(size=none)


def test_sizes_may_be_of_numpy():
    assert images.resize(X, np.int64(3)).shape == (4, 1, 3, 3)
    assert images.crop(X, size=np.array([2, 3])).shape == (4, 1, 2, 3)


@pytest.mark.parametrize(
    "wrong", [[1, 2], [1, 2, 3, 4, 5], np.ones((2, 2)), np.nan, np.inf, "30", None]
)
@pytest.mark.parametrize("seed", [None, 0])
def test_angles_that_cannot_be(wrong, seed):
    with pytest.raises(ValueError, match=r"degrees: expected numbers in .* one or 4, got "):
        images.rotate(X, None if seed is None else rng(seed), degrees=wrong)


def test_shares_that_cannot_be():
    for p in (-0.1, 1.1, np.nan, "half"):
        with pytest.raises(ValueError, match=r"flip: p: expected numbers in \[0, 1\].* got "):
            images.flip(X, rng(), p=p)
    for amount in (-1, np.inf, "a"):
        with pytest.raises(ValueError, match=r"color_jitter: expected numbers in \[0, "):
            images.color_jitter(X, rng(), contrast=amount)


@pytest.mark.parametrize("function", DRAWING, ids=lambda f: getattr(f, "func", f).__name__)
@pytest.mark.parametrize("wrong", [0, 3, "seed", np.random])
def test_chance_comes_from_a_generator(function, wrong):
    with pytest.raises(ValueError, match="expected a numpy Generator as rng, got "):
        function(X, wrong)


@pytest.mark.parametrize("function", [images.color_jitter, partial(images.cutout, size=1)])
def test_where_all_is_chance_a_generator_must_be_given(function):
    with pytest.raises(ValueError, match="expected a numpy Generator as rng, got None"):
        function(X, None)


@pytest.mark.parametrize("wrong", [None, [[[[0.5]]]], "image"])
def test_what_is_no_array_is_named(wrong):
    with pytest.raises(ValueError, match=f"got {type(wrong).__name__}"):
        images.flip(wrong)


@pytest.mark.parametrize("size", [0, (3,), "big"])
def test_a_folders_size_that_cannot_be(folder, size):
    with pytest.raises(ValueError, match=r"^read_folder: size: expected whole"):
        images.read_folder(folder, size)
