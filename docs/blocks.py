"""Runs every code block of these pages and of the README: `bash docs/check`.

What a block is called says what is done with it:

* `python`: executed, and what is printed after `>>>` compared. One whose first line is a comment
  with a file's name, `# my_nets.py`, is written to that file instead.
* `console`: the lines that begin with `$` are executed, and what they print is compared.
* `bash`: not executed, because it takes hours, a GPU or a network; but its winnrobust commands must
  be such that the command line takes them.
* `toml` and `yaml`: must be well-formed.
* `stopwatch`: `start`, and later the name of what was done since, which may take five minutes. What
  it took is written to `_build/minutes.csv`.

In comparisons all numbers are alike, because another processor may round otherwise, and `...`
stands for anything. Each page has a folder of its own. Blocks in `%` comments are executed, too,
but not shown:

    % invisible-code: python
    % make_some_pictures()
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from string import Template

import click
import torch
import yaml
from click.testing import CliRunner
from sybil import Document, Example, Sybil
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.myst import CodeBlockParser
from sybil.sybil import SybilCollection

from winnrobust.cli import main

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
FILE = re.compile(r"# ([\w./-]+\.\w+)\n")

MINUTES = HERE / "_build" / "minutes.csv"
PROMISED = 5.0
"""Minutes from a model of one's own to a page, by get-started.md. An idle machine takes less than
one; the rest is for slower and busier ones."""

torch.set_num_threads(1)


class AnyNumbers(doctest.OutputChecker):
    """Compares what is printed but for its numbers, and for the lines under headings."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        parts = self.plain(want).split("\0")
        return bool(re.fullmatch(".*".join(map(re.escape, parts)), self.plain(got), re.DOTALL))

    @staticmethod
    def plain(text: str) -> str:
        text = re.sub(r"\s*\.\.\.\s*", "\0", re.sub(r"-{3,}", "-", text))
        return " ".join(re.sub(r"\s*\d+(\.\d+)?(e-?\d+)?,?", " N", text).split())


def difference(want: str, got: str) -> str:
    """Nothing where they are alike, else both."""
    if AnyNumbers().check_output(want, got, 0):
        return ""
    return f"Expected:\n{want}\nGot:\n{got}"


def written(source: str) -> bool:
    """Write a block that names its file; tell whether it does."""
    name = FILE.match(source)
    if name:
        Path(name[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(name[1]).write_text(source)
    return bool(name)


class PythonBlocks:
    """Parses `python` blocks, plain ones and sessions."""

    def __init__(self) -> None:
        sessions = DocTestEvaluator()
        sessions.runner._checker = AnyNumbers()
        self.session = DocTestStringParser(sessions)
        self.plain = CodeBlockParser("python", self.run)
        self.execute = PythonEvaluator()

    def run(self, example: Example) -> None:
        if not written(str(example.parsed)):
            self.execute(example)

    def __call__(self, document: Document):
        for region in self.plain(document):
            if not region.parsed.startswith(">>>"):
                yield region
                continue
            for line in self.session(region.parsed, document.path):
                line.adjust(region, region.parsed)
                yield line


def typed(source: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    source = re.sub(r"\\\n(> )?", "", source)
    parts = re.split(r"^\$ (.*)$", source, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def run_console(example: Example) -> str:
    return "\n".join(filter(None, (check(*pair) for pair in typed(str(example.parsed)))))


def check(command: str, want: str) -> str:
    """Execute a command; return what it printed, if that is something else."""
    if command.startswith("winnrobust "):
        result = CliRunner().invoke(main, shlex.split(command)[1:], prog_name="winnrobust")
        code, got = result.exit_code, result.stdout
        got += result.stderr if code else ""
    else:
        process = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=False
        )
        code, got = process.returncode, process.stdout + (process.stderr * bool(process.returncode))
    if code and not re.search("^(Error|FAILED): ", want, re.MULTILINE):
        return f"$ {command}\nended with {code}:\n{got}"
    return difference(want, got) if want.strip() else ""


def parse_only(example: Example) -> None:
    """Let the command line look at its commands without executing them."""
    variables: dict[str, str] = {}
    for line in re.sub(r"\\\n", "", str(example.parsed)).splitlines():
        words = shlex.split(Template(line).safe_substitute(variables), comments=True)
        if len(words) == 1 and "=" in words[0]:
            name, _, variables[name] = words[0].partition("=")
        if words[:2] == ["pip", "install"]:
            extras = re.findall(r"\[(\w+)\]", line)
            assert set(extras) <= EXTRAS, f"{line}: there are the extras {', '.join(EXTRAS)}"
        if "winnrobust" not in words[:12] or words[0] in ("pip", "git", "cd", "docker"):
            continue
        name, *arguments = words[words.index("winnrobust") + 1 :]
        arguments = ["cpu" if word == "cuda" else word for word in arguments]
        command = main.get_command(click.Context(main), name)
        assert command, f"there is no command {name}"
        command.make_context(name, arguments)


def stopwatch(example: Example) -> str:
    """Start, or note how long something took; say so if it was too long."""
    name, now = str(example.parsed).strip(), time.monotonic()
    began = example.namespace.pop("_began", now)
    if name == "start":
        example.namespace["_began"] = now
        return ""
    minutes = (now - began) / 60
    MINUTES.parent.mkdir(exist_ok=True)
    with MINUTES.open("a", encoding="utf-8") as file:
        file.write(f"{name},{minutes:.2f}\n")
    late = minutes > PROMISED
    return f"{name}: {minutes:.1f} minutes to a report, {PROMISED:g} are promised" if late else ""


def take_a_folder(namespace: dict) -> None:
    """Begin a page in an empty folder, whose modules can be imported."""
    namespace["_before"] = Path.cwd(), list(sys.path), set(sys.modules)
    namespace["_folder"] = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    os.chdir(namespace["_folder"].name)
    sys.path.insert(0, "")


def leave_it(namespace: dict) -> None:
    folder, path, modules = namespace["_before"]
    os.chdir(folder)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and str(
            Path(sys.modules[name].__file__).resolve()
        ).startswith(str(Path(namespace["_folder"].name).resolve())):
            del sys.modules[name]
    namespace["_folder"].cleanup()


def pages(root: Path, patterns: list[str]) -> Sybil:
    return Sybil(
        parsers=[
            PythonBlocks(),
            CodeBlockParser("console", run_console),
            CodeBlockParser("bash", parse_only),
            CodeBlockParser("stopwatch", stopwatch),
            CodeBlockParser("toml", lambda example: tomllib.loads(str(example.parsed)) and None),
            CodeBlockParser("yaml", lambda example: yaml.safe_load(str(example.parsed)) and None),
        ],
        path=str(root),
        patterns=patterns,
        setup=take_a_folder,
        teardown=leave_it,
    )


pytest_collect_file = SybilCollection(
    [pages(HERE, ["*.md"]), pages(HERE.parent, ["README.md"])]
).pytest()
