"""Names that nobody gave."""

from datetime import datetime

from winnrobust.workflows import shared


class Noon(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 27, 12)


def test_folders_of_the_same_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "datetime", Noon)
    for name in ("20261127-120000-mnist", "20261127-120000-mnist-2", "20261127-120000-mnist-3"):
        path = shared.dated_folder(tmp_path, "mnist")
        assert path == tmp_path / name
        path.mkdir()
    assert shared.dated_folder(tmp_path / "there is none yet") == (
        tmp_path / "there is none yet" / "20261127-120000"
    )
