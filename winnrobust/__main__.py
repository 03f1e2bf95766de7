"""`python -m winnrobust` is `winnrobust`."""

from winnrobust.cli import main

main(prog_name="winnrobust")
