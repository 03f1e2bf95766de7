"""Folders are matched with classes, never guessed."""

import json

import pytest

from winnrobust.data.classes import BY_NAME, number_folders, read_classes
from winnrobust.runtime.errors import InputError

SYNSETS = [
    "n01440764 tench, Tinca tinca",
    "n01443537 goldfish, Carassius auratus",
    "n02012849 crane",
]


@pytest.mark.parametrize(
    ("folders", "numbers"),
    [
        (["n01443537", "n01440764"], [1, 0]),
        (["Goldfish", "tinca_tinca"], [1, 0]),
        (["carassius-auratus"], [1]),
    ],
)
def test_wordnet_ids_and_any_of_the_words_are_matched(folders, numbers):
    assert number_folders(folders, SYNSETS) == numbers


def test_numbers_are_numbers_unless_names_are_given():
    assert number_folders(["10", "007"], None, own=SYNSETS) == [10, 7]
    assert number_folders(["10", "007"], BY_NAME) == [0, 1]
    assert number_folders(["1", "0"], ["0", "1"]) == [1, 0]


def test_what_is_ambiguous_or_unknown_is_named():
    twice = [*SYNSETS, "n03126707 crane"]
    assert number_folders(["n03126707"], twice) == [3]
    with pytest.raises(
        InputError, match=r"2 classes are called crane .* names .*: 2 \(n.* crane\), 3"
    ):
        number_folders(["crane"], twice)
    assert number_folders(["3", "goldfish"], None, own=twice) == [3, 1]  # as it is told
    with pytest.raises(InputError, match=r"no class is called a, b, c, d, e, ... in the 3 names"):
        number_folders(list("abcdefg"), SYNSETS)
    with pytest.raises(
        InputError, match=r"gold fish in the 3 names .* \(gold fish is like goldfish"
    ):
        number_folders(["gold fish"], SYNSETS)
    with pytest.raises(InputError, match="the folders 0, x do not say which class"):
        number_folders(["0", "x"], None)


@pytest.mark.parametrize("classes", [None, BY_NAME])
def test_parts_of_a_data_set_are_not_taken_for_classes(classes):
    with pytest.raises(InputError, match=r"test, train, which are parts .* --data .*/test"):
        number_folders(["test", "train"], classes)
    assert number_folders(["car", "train"], BY_NAME) == [0, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "tench\ngreat white\n\n"),
        ("c.json", json.dumps(["tench", "great white"])),
        ("c.json", json.dumps({"1": "great white", "0": "tench"})),
    ],
)
def test_lists_of_classes_come_as_text_or_json(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_classes(tmp_path / name) == ["tench", "great white"]


def test_keras_and_torchvision_index_files_are_read(tmp_path):
    (tmp_path / "c.json").write_text(
        '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}'
    )
    listed = read_classes(tmp_path / "c.json")
    assert number_folders(["goldfish", "n01440764"], listed) == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "\n\n", "holds no names of classes"),
        ("c.json", "{", "is not valid JSON"),
        ("c.json", "3", "must be a list of names"),
        ("c.json", '{"a": "tench"}', "must have the numbers of all classes from 0 on"),
    ],
)
def test_what_is_no_list_ends_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path / name)
