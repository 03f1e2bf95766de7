"""What the commands do, from start to end: the layers of the package put in a row."""

from winnrobust.workflows.attacking import AttackSettings, attack_runs
from winnrobust.workflows.candidates import ExternalModel
from winnrobust.workflows.comparing import compare
from winnrobust.workflows.detecting import detect_others, detection_table, detection_text
from winnrobust.workflows.gallery import make_gallery
from winnrobust.workflows.quality import quality_text, score_quality
from winnrobust.workflows.reproducing import reproduce
from winnrobust.workflows.runs import (
    new_run_path,
    newest_of_each_method,
    newest_or_shipped,
    newest_run_like,
)
from winnrobust.workflows.shared import stamp
from winnrobust.workflows.synthesizing import SampleSettings, summary, synthesize
from winnrobust.workflows.texturing import check_texture_file, texture, texture_run
from winnrobust.workflows.training import resume_run, train_run

__all__ = [
    "AttackSettings",
    "ExternalModel",
    "SampleSettings",
    "attack_runs",
    "check_texture_file",
    "compare",
    "detect_others",
    "detection_table",
    "detection_text",
    "make_gallery",
    "new_run_path",
    "newest_of_each_method",
    "newest_or_shipped",
    "newest_run_like",
    "quality_text",
    "reproduce",
    "resume_run",
    "score_quality",
    "stamp",
    "summary",
    "synthesize",
    "texture",
    "texture_run",
    "train_run",
]
