"""`winnrobust attacks` as a user types it."""

from click.testing import CliRunner

from winnrobust.attacks import ATTACKS
from winnrobust.cli import main


def test_lists_every_attack_with_its_threat_model_cost_and_source():
    result = CliRunner().invoke(main, ["attacks"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == 2 + len(ATTACKS) + 1
    for name, attack in ATTACKS.items():
        (line,) = (line for line in lines if line.split()[0] == name)
        for fact in (", ".join(attack.norms), attack.access, attack.cost, attack.source):
            assert fact in line
    assert lines[-1].startswith("transfer:NAME")
