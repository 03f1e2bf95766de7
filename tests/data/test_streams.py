"""Images from whatever a user has them in: the same ones, in order, a few at a time."""

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import winnrobust
from winnrobust.data.datasets import ImageSplit
from winnrobust.data.streams import First, ReadOnce, Shuffled, checked_data, open_stream
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.evaluation.run import LOOKED_AT
from winnrobust.runtime.errors import InputError

N = 150
PIXELS = torch.randint(0, 256, (N, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
FLOATS = PIXELS.float() / 255
LABELS = torch.arange(N) % 7


class Pairs(Dataset):
    """Item by item, and it is noted which ones are asked for."""

    def __init__(self, images=FLOATS):
        self.images, self.asked = images, []

    def __len__(self):
        return N

    def __getitem__(self, number):
        if number >= N:
            raise IndexError
        self.asked.append(number)
        return self.images[number], int(LABELS[number])


class Fails(Pairs):
    """Whose third item cannot be read."""

    def __getitem__(self, number):
        if number == 2:
            raise OSError("the disk\nis gone")
        return super().__getitem__(number)


class Pictures(Pairs):
    """The same as Pillow's pictures."""

    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()), label


class Endless(IterableDataset):
    """The same one after the other, without a length."""

    def __iter__(self):
        yield from zip(FLOATS, LABELS.tolist(), strict=True)


class Counted(Endless):
    """The same, and it says how many there are; it has no items all the same."""

    def __len__(self):
        return N


class HuggingFace:
    """Dicts, as `datasets.Dataset` has them."""

    features = {"img": "Image", "label": "ClassLabel"}  # noqa: RUF012
    column_names = ("img", "label")

    def __len__(self):
        return N

    def __getitem__(self, number):
        image, label = Pictures()[number]
        return {"img": image, "label": label}


def arrow(tmp_path):
    """The same as the library itself keeps them."""
    datasets = pytest.importorskip("datasets")
    pictures = [Pictures()[number][0] for number in range(N)]
    return datasets.Dataset.from_dict({"image": pictures, "label": LABELS.tolist()})


def folder(tmp_path):
    for number in range(N):
        place = tmp_path / "images" / str(int(LABELS[number]))
        place.mkdir(parents=True, exist_ok=True)
        Pictures()[number][0].save(place / f"{number:03d}.png")
    return tmp_path / "images"


def arrays(tmp_path):
    np.savez(tmp_path / "images.npz", images=PIXELS.numpy(), labels=LABELS.numpy())
    return str(tmp_path / "images.npz")


SOURCES = {
    "dataset": lambda tmp_path: Pairs(),
    "dataset of tensors": lambda tmp_path: TensorDataset(PIXELS, LABELS),
    "dataset of pictures": lambda tmp_path: Pictures(),
    "arrays with channels last": lambda tmp_path: Pairs(PIXELS.permute(0, 2, 3, 1).numpy()),
    "loader": lambda tmp_path: DataLoader(Pairs(), batch_size=32),
    "loader of bytes": lambda tmp_path: DataLoader(TensorDataset(PIXELS, LABELS), batch_size=7),
    "loader of an endless one": lambda tmp_path: DataLoader(Endless(), batch_size=50),
    "iterable dataset": lambda tmp_path: Endless(),
    "iterable dataset with a length": lambda tmp_path: Counted(),
    "generator": lambda tmp_path: ((image, label) for image, label in Endless()),
    "Hugging Face": lambda tmp_path: HuggingFace(),
    "Hugging Face's own": arrow,
    "Hugging Face's own as tensors": lambda tmp_path: arrow(tmp_path).with_format("torch"),
    "Hugging Face's own, iterable": lambda tmp_path: arrow(tmp_path).to_iterable_dataset(),
    "loader of dicts": lambda tmp_path: DataLoader(
        [{"image": image, "label": label} for image, label in Endless()], batch_size=64
    ),
    "npz": arrays,
    "folder": folder,
    "split": lambda tmp_path: ImageSplit(PIXELS, LABELS),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_the_same_images_come_in_their_order(source, tmp_path):
    data = checked_data(open_stream(source(tmp_path)), None)
    assert len(data) == N
    order = range(N)
    if source is folder:  # classes take turns
        order = [n for turn in range(0, N, 7) for n in range(turn, min(turn + 7, N))]
    for start, stop in ((0, 2), (0, 16), (40, 90), (140, 200), (3, 4)):
        found = data.batch(start, stop)
        chosen = list(order)[start:stop]
        pixels = found.images if found.images.is_floating_point() else found.images.float() / 255
        assert torch.equal(pixels, FLOATS[chosen])
        assert torch.equal(found.labels, LABELS[chosen])


def test_pictures_of_16_bits_are_rounded_to_8_as_in_a_folder():
    deep = [Image.fromarray(each.numpy().astype(np.uint16) * 257) for each in PIXELS[:, 0]]
    found = open_stream(Pairs(deep)).batch(0, N)
    assert torch.equal(found.images, PIXELS[:, :1])


@pytest.mark.parametrize("kind", [lambda items: items, iter], ids=["items", "one by one"])
def test_gray_pictures_with_alpha_stay_gray_and_alpha_is_told_once(kind):
    pictures = [(Image.fromarray(x[0].numpy()).convert("LA"), 0) for x in PIXELS]
    items = pictures if kind is iter else Pairs([picture for picture, _ in pictures])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = open_stream(kind(items))
        found = [data.batch(start, start + 50).images for start in (0, 50, 100)]
    assert torch.equal(torch.cat(found), PIXELS[:, :1])
    assert {warning.category for warning in caught} == {winnrobust.EvaluationWarning}
    (said,) = {str(warning.message) for warning in caught}
    assert said.startswith("pictures of the data have an alpha channel, which is left out")
    assert len(caught) == 1


def test_bytes_of_a_dark_batch_are_bytes():
    dark = torch.cat([PIXELS[:5] % 2, PIXELS[5:]])
    data = checked_data(open_stream(Pairs(dark)), None)
    assert torch.equal(torch.cat([data.batch(0, 5).images, data.batch(5, N).images]), dark)


def test_items_are_read_when_they_are_asked_for():
    items = Pairs()
    data = open_stream(items)
    data.batch(20, 30)
    assert items.asked == list(range(20, 30))


def test_what_can_be_read_once_is_read_once_and_only_as_far_as_needed():
    items = Pairs()
    data = open_stream(DataLoader(items, batch_size=10))
    data.batch(0, 5)
    assert len(items.asked) == 10
    for _ in range(3):
        data.batch(0, 25)
    data.batch(12, 13)
    assert items.asked == list(range(30))


def test_a_shuffled_loader_keeps_the_order_of_its_first_pass():
    data = open_stream(DataLoader(Pairs(), batch_size=16, shuffle=True))
    one, other = data.batch(0, N), data.batch(0, N)
    assert torch.equal(one.images, other.images)
    assert sorted(one.labels.tolist()) == sorted(LABELS.tolist())
    assert not torch.equal(one.labels, LABELS)


def test_a_loader_that_drops_its_last_batch_is_shorter():
    data = open_stream(DataLoader(Pairs(), batch_size=64, drop_last=True))
    assert len(data) == len(data.batch(0, N)) == 128


def test_what_is_kept_on_disk_takes_a_byte_a_pixel_and_goes_away():
    data = ReadOnce(DataLoader(Pairs(), batch_size=50), N)
    data.batch(0, N)
    place = data._folder
    stored = sum(path.stat().st_size for path in place.iterdir())
    assert PIXELS.numel() < stored < 2 * PIXELS.numel() + 4096
    del data
    gc.collect()
    assert not place.exists()


def test_floats_that_are_no_bytes_are_kept_as_they_are():
    images = FLOATS * 0.999
    data = open_stream(DataLoader(Pairs(images), batch_size=50))
    assert torch.equal(data.batch(0, N).images, images)


def test_the_first_images_alone():
    data = First(open_stream(Pairs()), 10)
    assert len(data) == 10
    assert len(data.batch(5, 50)) == 5


def floats_to_255(dark, bright):
    """Images of floats, the numbers `dark` of which are no brighter than 1 of 255."""
    images = 255 * FLOATS
    images[dark], images[bright] = images[dark] / 255, images[bright].clamp(100)
    return images


@pytest.mark.parametrize("kind", [Pairs, lambda images: DataLoader(Pairs(images), 10)])
@pytest.mark.parametrize("whole", [False, True], ids=["any floats", "whole numbers"])
def test_a_dark_batch_has_the_range_of_those_before(kind, whole):
    images = floats_to_255(slice(20, 40), slice(0, 20)) * (1 if whole else 0.999)
    images = images.round() if whole else images
    data = checked_data(open_stream(kind(images)), None)
    for start in range(0, N, 10):
        found = data.batch(start, start + 10).images
        found = found if found.is_floating_point() else found.float() / 255
        torch.testing.assert_close(found, images[start : start + 10] / 255)


@pytest.mark.parametrize("kind", [lambda d: Shuffled(d, 0), lambda d: d], ids=["drawn", "in order"])
def test_whole_numbers_and_others_come_together_in_one_range(kind):
    images = 255 * FLOATS * 0.999
    images[::2] = images[::2].round()
    data = kind(checked_data(open_stream(Pairs(images)), None))
    order = getattr(data, "numbers", torch.arange(N))
    torch.testing.assert_close(data.batch(0, N).images, images[order] / 255)


def test_a_bright_batch_after_one_within_0_and_1_is_refused_in_one_line():
    data = checked_data(open_stream(Pairs(floats_to_255(slice(0, 10), slice(10, N)))), None)
    data.batch(0, 10)
    with pytest.raises(InputError, match=r"lay in \[0, 1\] so far; .* all of them in one"):
        data.batch(10, 20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "images must be a tensor or an array with its labels, a Dataset"),
        ({"train": Pairs(), "test": Pairs()}, "not dict; give one of its parts, train, test"),
        (Pairs([torch.rand(1 + 2 * (n % 2), 4, 4) for n in range(N)]), "convert all to RGB"),
        ("nowhere", "nowhere is neither a folder"),
        ([1, 2], "not list"),
        (Pairs([torch.rand(3, 4, 4 + number % 2) for number in range(N)]), "different shapes"),
        (Pairs(["a"] * N), "image 0 of the data is str"),
        (Pairs([Image.new("F", (4, 4))] * N), "image 0 of the data has pixels of mode F"),
        (Pairs([Image.new("I", (4, 4), -1)] * N), "image 0 of the data: its gray values range"),
        (iter([{"pixels": 1}]), "item 0 of the data has pixels; it must have"),
        (iter([3]), "item 0 of the data is int; it must be"),
        (iter([(FLOATS[0], "cat")]), "labels of the data must hold plain numbers"),
        (iter([(FLOATS[:2], LABELS[:3])]), "labels of the data must be 2 integers"),
        (Pairs(FLOATS - 0.5), r"range from -0\.5"),
        (iter([]), "there are no images"),
        (Fails(), "item 2 of the data cannot be read: OSError: the disk is gone"),
        (DataLoader(Fails(), 1), "item 2 of the data cannot be read: OSError: the disk is gone"),
        ((pair for pair in Fails()), "item 2 of the data cannot be read: OSError: the disk"),
    ],
)
def test_what_cannot_be_used_is_one_line(data, message):
    with pytest.raises(InputError, match=message) as caught:
        checked_data(open_stream(data), None).batch(0, 4)
    assert "\n" not in str(caught.value)


# --- and they are evaluated -----------------------------------------------------------------------


class Bright(torch.nn.Module):
    """Tells by the mean of each color; knows seven classes."""

    def forward(self, images):
        return torch.cat([images.mean((2, 3)), images[:, 0, 0, :], images[:, 0, :1, 0] * 0], 1)[
            :, :7
        ]


@pytest.mark.parametrize("name", ["dataset", "loader", "Hugging Face", "npz", "generator"])
def test_an_evaluation_takes_them_all(name, tmp_path):
    model = Bright()
    expected = winnrobust.evaluate(model, PIXELS, LABELS, ["pgd(steps=2)"], [0.01])
    found = winnrobust.evaluate(
        model, SOURCES[name](tmp_path), attacks=["pgd(steps=2)"], epsilons=[0.01]
    )
    columns = ["image", "label", "attack", "correct", "prediction", "distance"]
    assert found.outcomes[columns].equals(expected.outcomes[columns])
    some = winnrobust.evaluate(model, SOURCES[name](tmp_path), limit=20)
    assert some.results.n == 20
    made = winnrobust.attack(model, SOURCES[name](tmp_path), attack="fgsm", epsilon=0.01)
    assert len(made) == N


def test_labels_are_asked_for_and_checked_batch_by_batch():
    with pytest.raises(InputError, match="labels are missing"):
        winnrobust.evaluate(Bright(), PIXELS)
    beyond = [(image, 7 if number == 140 else 0) for number, image in enumerate(FLOATS)]
    with pytest.raises(InputError, match="labels go up to 7, but the models have only"):
        winnrobust.evaluate(Bright(), iter(beyond))


def test_no_more_than_a_few_batches_are_in_memory(tmp_path):
    alive, most = set(), 0

    class Watched(Pairs):
        def __getitem__(self, number):
            nonlocal most
            image, label = super().__getitem__(number)
            image = image.clone()
            alive.add(number)
            weakref.finalize(image, alive.discard, number)
            most = max(most, len(alive))
            return image, label

    settings = EvaluationSettings(batch_size=10)
    run({"net": Bright()}, open_stream(Watched()), settings=settings, folder=tmp_path)
    assert most <= LOOKED_AT + 10
