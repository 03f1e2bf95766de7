"""Where a figure comes from."""

import shlex

from winnrobust.runtime import provenance


def test_the_command_can_be_typed_again(monkeypatch):
    typed = ["winnrobust", "attack", "runs/my model", "--model", "$x=a;b"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/winnrobust", *typed[1:]])
    assert shlex.split(provenance.describe()["command"]) == typed
    monkeypatch.setattr("sys.argv", ["/x/winnrobust/__main__.py", "report"])
    assert provenance.describe()["command"] == "python -m winnrobust report"
