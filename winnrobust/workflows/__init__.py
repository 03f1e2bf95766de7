"""What the commands do, from start to end: the layers of the package put in a row."""

from winnrobust.workflows.attacking import AttackSettings, attack_runs
from winnrobust.workflows.candidates import ForeignModel
from winnrobust.workflows.comparing import compare
from winnrobust.workflows.reproducing import reproduce
from winnrobust.workflows.runs import (
    new_run_path,
    newest_of_each_method,
    newest_or_shipped,
    newest_run_like,
)
from winnrobust.workflows.shared import stamp
from winnrobust.workflows.synthesizing import summary, synthesize
from winnrobust.workflows.texturing import texture, texture_run
from winnrobust.workflows.training import resume_run, train_run

__all__ = [
    "AttackSettings",
    "ForeignModel",
    "attack_runs",
    "compare",
    "new_run_path",
    "newest_of_each_method",
    "newest_or_shipped",
    "newest_run_like",
    "reproduce",
    "resume_run",
    "stamp",
    "summary",
    "synthesize",
    "texture",
    "texture_run",
    "train_run",
]
