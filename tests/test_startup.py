"""What a command may import before it answers: seconds of a reader's time, and no check may be lost to save them."""

import json
import os
import subprocess
import sys

import pytest

from llasa_lib import files, recordings
from llasa_lib.errors import LlasaError

WALK = files.PACKAGE.parent / "data" / "samples" / "walk.csv"
# Of the packages that the library needs, those that take longest to import.
HEAVY = "torch transformers peft accelerate datasets sklearn matplotlib seaborn openai requests pooch joblib".split()
HEAVY += ["bitsandbytes", "ipywidgets", "numba", "huggingface_hub"]
LESS = [*HEAVY, "pandas", "pyarrow.compute", "scipy.signal", "scipy.stats", "scipy.interpolate"]
RUN = """
import json, sys
from llasa_lib.cli import main
sys.argv = ["llasa", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)))
"""


def run(*arguments):
    """(exit code, standard output, standard error, names of imported modules) of a command in a fresh process."""
    path = os.pathsep.join([str(files.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    said, modules = done.stdout.rstrip("\n").rsplit("\n", 1) if "\n" in done.stdout.strip() else ("", done.stdout)
    return done.returncode, said, done.stderr, json.loads(modules)


def test_a_recording_is_explained_without_any_library_that_learns():
    code, said, _, modules = run("prepare", WALK)
    assert code == 0
    assert "5 windows of six seconds" in said
    assert [name for name in HEAVY if name in modules] == []


@pytest.fixture(scope="module")
def files_that_no_app_writes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "nonsense.csv").write_text("lorem,ipsum\n1,2\n", encoding="utf-8")
    (folder / "empty.csv").write_text("", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["missing.csv", "nonsense.csv", "empty.csv"])
@pytest.mark.parametrize("command", [["prepare"], ["ask"]], ids=["prepare", "ask"])
def test_a_bad_file_is_refused_before_anything_heavy_is_imported(files_that_no_app_writes, command, name):
    file = files_that_no_app_writes / name
    with pytest.raises(LlasaError) as refused:
        recordings.read(file)
    code, _, complaint, modules = run(*command, file)
    assert code == 2
    assert complaint == f"llasa: {refused.value}\n"
    reader = {"pandas", "pyarrow.compute"} if name != "missing.csv" else set()
    assert set(LESS) & set(modules) <= reader


def test_help_imports_nothing_that_it_does_not_print():
    code, said, _, modules = run("--help")
    assert code == 0
    assert "prepare" in said
    assert [name for name in [*LESS, "numpy", "pyarrow", "pydantic"] if name in modules] == []
