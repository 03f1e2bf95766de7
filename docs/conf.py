"""How the pages are built: `bash docs/build`."""

import shutil
from pathlib import Path

import winnrobust

HERE = Path(__file__).parent

# The notebooks live in examples/, where people look for them; the site shows them as they ran.
shutil.copytree(
    HERE.parent / "examples",
    HERE / "notebooks",
    ignore=lambda _, names: [name for name in names if not name.endswith(".ipynb")],
    dirs_exist_ok=True,
)

project = "winnrobust"
author = "the winnrobust authors"
version = release = winnrobust.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # `python examples/run.py` executes them
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4
REPOSITORY = "https://github.com/OWNER/winnrobust/blob/main"
myst_url_schemes = {"http": None, "https": None, "repo": {"url": REPOSITORY + "/{{path}}"}}
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints = "none"  # the docstrings say shapes, units and ranges
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"winnrobust {version}"
html_static_path = ["pictures"]
html_copy_source = False
