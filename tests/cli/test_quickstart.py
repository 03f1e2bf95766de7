"""`winnrobust quickstart` as typed, with a training of seconds."""

import pytest

from tests.cli.conftest import winnrobust
from winnrobust.workflows import quickstart


@pytest.fixture
def small(monkeypatch):
    tiny = quickstart.QUICK.replace(epochs=1, limit_train=50, synthesis_max_steps=1)
    monkeypatch.setattr(quickstart, "QUICK", tiny)


@pytest.mark.slow
def test_says_how_long_it_takes_and_makes_a_page_before_it_trains(small, tmp_path):
    result = winnrobust("quickstart", "--device", "cpu", "--out", tmp_path / "quick")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("this machine: about ")
    first = next(i for i, line in enumerate(lines) if "first/index.html" in line)
    trained = next(i for i, line in enumerate(lines) if line.startswith("training baseline"))
    assert first < trained
    assert (tmp_path / "quick" / "first" / "index.html").exists()
    assert (tmp_path / "quick" / "report" / "index.html").exists()
    assert lines[-1].endswith("report/index.html")


@pytest.mark.slow
def test_goes_on_after_the_first_page(small, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(quickstart, "complete_run", stop)
        winnrobust("quickstart", "--device", "cpu", "--out", tmp_path / "quick")
    page = tmp_path / "quick" / "first" / "index.html"
    before = page.read_bytes()
    result = winnrobust("quickstart", "--device", "cpu", "--out", tmp_path / "quick")
    assert result.exit_code == 0, result.output
    assert page.read_bytes() == before
    assert "first/index.html" not in result.output
