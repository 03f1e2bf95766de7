"""`winnrobust attacks` as a user types it."""

from click.testing import CliRunner

from winnrobust.attacks import ATTACKS, find
from winnrobust.cli import main


def test_lists_every_attack_with_its_threat_model_cost_and_source():
    result = CliRunner().invoke(main, ["attacks"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    listed = ATTACKS | {"spatial": find("spatial"), "patch": find("patch")}
    assert len(lines) == 2 + len(listed) + 1 + 2
    for name, attack in listed.items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        for fact in (", ".join(attack.norms), attack.access, attack.cost, attack.source):
            assert fact in line
    assert lines[-3].startswith("transfer:NAME")
    assert lines[-1].startswith("--threat corruptions:1-5 is not an attack but 15 corruptions: ")
