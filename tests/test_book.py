"""What every chapter promises a reader, checked without running it (`make notebooks` runs them all)."""

import ast
import asyncio
import itertools
import os
import re
import shutil
import statistics
import types
from functools import partial
from pathlib import Path
from queue import Empty

import kernel_messages
import nbformat
import notebook_cache
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_cache import get_cache
from test_repository import write_chapter

from llasa_lib import files, profiles

REPOSITORY = Path(__file__).resolve().parents[1]
BOOK = REPOSITORY / "book"
CONFIG = yaml.safe_load((REPOSITORY / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHAPTERS = [name for name in PAGES if re.match(r"\d\d_", name)]
STAGES = [name for name in CHAPTERS if name[:2] in {"01", "02", "03", "04", "05", "06", "07"}]

# What `make` installs, by name; the other two are fetched from the hub and from the authors where there is a network.
PAYLOADS = {
    line.split("==")[0]: line.split()[0]
    for line in (REPOSITORY / "requirements-payloads.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}
SET_UP = f"""\
# Set-up: the same cell in every chapter. On Colab it installs the library, and touches neither torch nor numpy.
import sys

if "google.colab" in sys.modules:
    %pip install -q "llasa_lib[colab] @ git+{CONFIG["repository"]["url"]}"
    %pip install -q --no-deps {PAYLOADS["aeon"]} {PAYLOADS["seglearn"]}  # for recordings inside
from llasa_lib import notebook

run = notebook.setup()"""

every_chapter = pytest.mark.parametrize("name", CHAPTERS)
every_stage = pytest.mark.parametrize("name", STAGES)


def notebook(name):
    return nbformat.read(BOOK / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def code_cells(name):
    return [cell for cell in notebook(name).cells if cell.cell_type == "code"]


def prose(name):
    return "\n\n".join(cell.source for cell in notebook(name).cells if cell.cell_type == "markdown")


def statements(source):
    """Lines of code: neither blank nor only a comment."""
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def calls_at_top(source):
    """Every call that a cell makes when it runs, as (root name, last name); bodies of functions are left out."""
    stack, found = [ast.parse(TransformerManager().transform_cell(source))], []
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            root = node.func
            while isinstance(root, ast.Attribute):
                root = root.value
            found.append((root.id if isinstance(root, ast.Name) else "", node.func.attr))
        stack.extend(ast.iter_child_nodes(node))
    return found


def draws(source):
    """Whether a cell makes a figure: it calls plt, seaborn or the library's plots, or a report's own plot."""
    silent = {("plots", "use_style"), ("plt", "close")}
    return any(
        call not in silent and (call[0] in {"plt", "sns", "plots"} or call[1] in {"plot", "plot_confusion"})
        for call in calls_at_top(source)
    )


def test_the_folder_holds_the_pages_of_the_table_of_contents_and_no_others():
    there = {path.stem for path in BOOK.iterdir() if path.suffix in {".ipynb", ".md"}}
    assert there == set(PAGES)
    assert [name[:2] for name in CHAPTERS] == ["00", "01", "02", "03", "04", "05", "06", "07"]


@every_chapter
def test_a_chapter_is_a_valid_notebook_without_outputs(name):
    chapter = notebook(name)
    nbformat.validate(chapter)
    assert (chapter.nbformat, chapter.nbformat_minor) == (4, 5)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(name))
    assert "widgets" not in chapter.metadata


@every_chapter
def test_the_ids_of_cells_are_unique_and_name_their_chapter(name):
    ids = [cell.id for cell in notebook(name).cells]
    assert len(set(ids)) == len(ids)
    assert [one for one in ids if not one.startswith(f"ch{name[:2]}-")] == []


@every_chapter
def test_every_chapter_starts_with_the_same_set_up(name):
    assert code_cells(name)[0].source == SET_UP


@every_chapter
def test_cells_are_short(name):
    sizes = {cell.id: len(statements(cell.source)) for cell in code_cells(name)}
    assert statistics.median(sizes.values()) <= 8
    assert {cell: size for cell, size in sizes.items() if size > 25} == {}


@every_chapter
def test_every_cell_that_draws_says_what_the_eye_should_find(name):
    silent = []
    for cell in code_cells(name):
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if draws(cell.source) and len(alt.split()) < 5:
            silent.append(cell.id)
    assert silent == []


@every_chapter
def test_a_chapter_runs_on_any_machine(name):
    everything = "\n".join(cell.source for cell in notebook(name).cells)
    code = "\n".join(cell.source for cell in code_cells(name))
    assert not re.search(r"\.cuda\(|[\"']cuda(:\d)?[\"']\)|num_workers\s*=\s*[1-9]", code)
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp|Users)/", everything)


@every_chapter
def test_pictures_in_prose_have_an_alt_text(name):
    assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=\"[^\"]+\")[^>]*>", prose(name))


@every_chapter
def test_a_chapter_has_one_title_and_skips_no_level_of_heading(name):
    text = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1\s*$", "", prose(name))
    levels = [len(mark) for mark in re.findall(r"(?m)^(#{1,6}) \S", text)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


@every_stage
def test_a_chapter_tells_what_it_needs_gives_and_leaves_open(name):
    text = prose(name).lower()
    parts = (
        r"objectives|you will (be able|learn)",
        r"prerequisites|you need",
        r"memory",
        r"you are here",
        rf"\*\*{name[3:]}\*\*",
        r"\bpredict\b",
        r"can go wrong",
        r"exercises",
        r"take.?aways?|what you take|take with you",
        r"open|unsolved",
        r"references",
    )
    assert [part for part in parts if not re.search(part, text)] == []


@every_stage
def test_a_chapter_has_three_exercises_and_every_one_a_folded_solution(name):
    text = prose(name)
    exercises = re.findall(r"\{exercise(?:-start)?\}.*\n(?:.*\n)*?:label: *(\S+)", text)
    solutions = re.findall(r"\{solution(?:-start)?\} *(\S+)((?:\n:.*)*)", text)
    assert len(exercises) >= 3
    assert sorted(label for label, _ in solutions) == sorted(exercises)
    assert all(label.startswith(f"ch{name[:2]}-") for label in exercises)
    assert [label for label, options in solutions if "dropdown" not in options] == []
    assert text.count("{solution-start}") == text.count("{solution-end}") >= 1, "no solution holds code that is run"
    assert "hint" in text.lower()


@every_stage
def test_a_chapter_has_a_check_and_a_widget(name):
    code = "\n".join(cell.source for cell in code_cells(name))
    assert re.search(r"\bcheck\.(close|equal|true)\(", code)
    assert re.search(r"\binteract|widgets\.", code)


@every_chapter
def test_prose_has_one_sentence_per_line(name):
    """So that a changed sentence is a changed line, and nothing else is."""
    text = re.sub(r"(?ms)^(`{3,})(\{code|python|bash|text|console|\n|csv|mermaid).*?^\1\s*$", "", prose(name))
    text = re.sub(r"(?s)\$\$.*?\$\$", "", text)
    text = re.sub(r"`[^`\n]*`|\$[^$\n]*\$|\]\([^)]*\)|\*\*[^*\n]+\*\*", "x", text)
    text = re.sub(r"\b(e\.g|i\.e|et al|etc|vs|cf|Fig|Eq|No|approx|St|Dr)\.", "x", text)
    # An entry of a list, a heading or the row of a table is one line whatever it holds.
    lines = [line for line in text.splitlines() if not re.match(r"\s*([|#:<>*-]|\d+\.)", line)]
    crowded = [line for line in lines if re.search(r"[a-z0-9)\"”][.?!][\"”')*_]* +[A-Z][a-z]", line)]
    assert crowded == [], "\n".join(crowded)


class Sleepy:
    """A socket whose message arrives without waking the one who waits; asked again, it has it."""

    def __init__(self, arrives_after):
        self.asked, self.arrives_after = 0, arrives_after

    async def poll(self, timeout):
        self.asked += 1
        return self.asked > self.arrives_after


def test_a_reply_that_wakes_nobody_is_found_by_asking_again():
    class Channel:
        socket = Sleepy(3)

        async def _recv(self):
            return "reply"

    assert asyncio.run(kernel_messages.get_msg(Channel())) == "reply"
    assert Channel.socket.asked == 4


def test_waiting_for_a_reply_still_ends_at_its_time_limit():
    class Channel:
        socket = Sleepy(10**9)

    with pytest.raises(Empty):
        asyncio.run(kernel_messages.get_msg(Channel(), timeout=0.05))


# --- when a chapter runs again ------------------------------------------------------------------------------------


class Made:
    """A pipeline whose stages hold what it is told."""

    profile = profiles.load("smoke")

    def __init__(self, **contents):
        self.contents = contents

    def content(self, stage):
        return self.contents.get(stage, f"of {stage}")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the library and the lock file."""
    shutil.copytree(files.PACKAGE, tmp_path / "llasa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "requirements.lock", tmp_path)
    return tmp_path


def keys(checkout, run=None):
    return {name: notebook_cache.chapter_key(BOOK / f"{name}.ipynb", run or Made(), checkout) for name in CHAPTERS}


def changed_chapters(before, after):
    return {name[:2] for name in CHAPTERS if before[name] != after[name]}


def test_a_changed_word_of_the_verifier_runs_the_chapters_that_verify(checkout):
    before, words = keys(checkout), checkout / "llasa_lib" / "verification" / "vocabulary.py"
    text = words.read_text(encoding="utf-8")
    words.write_text(text + "\n# prose\n", encoding="utf-8")
    assert changed_chapters(before, keys(checkout)) == set()
    words.write_text(text.replace("GRAVITY = 9.80665", "GRAVITY = 9.81"), encoding="utf-8")
    assert changed_chapters(before, keys(checkout)) == {"03", "05"}


def test_how_a_stage_is_made_runs_no_chapter_but_what_it_left_does(checkout):
    before, source = keys(checkout), checkout / "llasa_lib" / "stages.py"
    source.write_text(source.read_text(encoding="utf-8").replace("SPLITS = (", "SPLITS = (\n"), encoding="utf-8")
    making = checkout / "llasa_lib" / "encoder" / "masking.py"
    making.write_text(making.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert changed_chapters(before, keys(checkout)) == set()
    assert changed_chapters(before, keys(checkout, Made(tune="another model"))) >= {"00", "05"}
    assert "02" not in changed_chapters(before, keys(checkout, Made(tune="another model")))


def test_other_versions_run_every_chapter(checkout):
    before = keys(checkout)
    (checkout / "requirements.lock").write_text("torch==1\n")
    assert changed_chapters(before, keys(checkout)) == {name[:2] for name in CHAPTERS}


def test_outputs_of_a_chapter_are_forgotten_with_its_key(tmp_path, monkeypatch):
    paths = {name: shutil.copy(BOOK / f"{name}.ipynb", tmp_path / f"{name}.ipynb") for name in CHAPTERS[:2]}
    cache = get_cache(tmp_path / "cache")
    for path in paths.values():
        cache.cache_notebook_file(path, check_validity=False)
    now = dict.fromkeys(paths, "one")
    monkeypatch.setattr(notebook_cache, "chapter_key", lambda path, run: now[path.stem])
    forget = lambda: notebook_cache.forget_stale(tmp_path / "cache", {name: Path(p) for name, p in paths.items()}, None)
    left = lambda: {Path(record.uri).stem for record in cache.list_cache_records()}
    assert set(forget()) == set(paths), "nothing is known of them"
    assert left() == set()
    for path in paths.values():
        cache.cache_notebook_file(path, check_validity=False)
    assert forget() == []
    assert left() == set(paths)
    now[CHAPTERS[1]] = "two"
    assert forget() == [CHAPTERS[1]]
    assert left() == {CHAPTERS[0]}


def test_chapters_run_two_at_a_time_and_one_that_fails_keeps_no_outputs(tmp_path):
    meet = """
import os, pathlib, time
here, there = map(pathlib.Path, {})
here.touch()
while not there.exists():
    time.sleep(0.1)
print("met", os.environ["OMP_NUM_THREADS"])
"""
    marks = [str(tmp_path / name) for name in "ab"]
    pair = [write_chapter(tmp_path / f"{n}.ipynb", meet.format(marks[:: 1 - 2 * n])) for n in (0, 1)]
    fails = write_chapter(tmp_path / "2.ipynb", "1 / 0")
    alone = write_chapter(tmp_path / "3.ipynb", "2 + 2", alone=True)
    cache, missing = get_cache(tmp_path / "cache"), partial(notebook_cache.without_outputs, tmp_path / "cache")
    waiting = missing([*pair, fails, alone])
    assert list(waiting) == [*pair, fails], "what measures time runs by itself, later"
    notebook_cache.run_together(tmp_path / "cache", waiting, timeout=60)
    assert list(missing([*pair, fails])) == [fails]
    for path in pair:
        chapter = cache.merge_match_into_notebook(nbformat.read(path, as_version=4))[1]
        assert chapter.cells[1].outputs[0].text == f"met {max(1, os.cpu_count() // 2)}\n"


@pytest.mark.parametrize(("free", "missing", "together"), [(9, None, True), (7, None, False), (9, "tune", False)])
def test_chapters_run_together_where_there_is_room_and_nothing_to_train(monkeypatch, free, missing, together):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    memory = types.SimpleNamespace(available=free * 2**30)
    monkeypatch.setattr(notebook_cache.psutil, "virtual_memory", lambda: memory)
    assert notebook_cache._can_run_together(Made(**{missing: None} if missing else {})) is together
