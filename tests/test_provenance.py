"""Promises of ``llasa_lib.provenance``: code counts where it is used, prose never, and no list is kept by hand."""

import shutil

import pytest

from llasa_lib import files, provenance, signals
from llasa_lib.pipeline import NOT_BY_A_STAGE, STAGES


@pytest.fixture
def package(tmp_path):
    """A package of three modules whose code can be changed: returns (folder, a function that writes a module)."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")

    write("__init__.py", "")
    write("stage.py", "from . import parts\nfrom .parts import SIZE\n\ndef make():\n    return parts.add(SIZE)\n")
    write("parts/__init__.py", "from llasa_lib.parts.adding import add, double\nfrom .sizes import SIZE\n")
    adding = "def add(x):\n    return _one(x)\n\ndef _one(x):\n    return x + 1\n\n"
    write("parts/adding.py", adding + "def double(x):\n    return 2 * x\n")
    write("parts/sizes.py", "SIZE = 3\nOTHER = 4\n")
    return tmp_path, write


def code(folder, **options):
    return provenance.code_of([("stage", "make")], folder=folder, **options)


def test_names_are_followed_through_imports_and_re_exports(package):
    found = provenance.definitions([("stage", "make")], folder=package[0])
    assert {(one.module, one.name) for one in found if one.name} == {
        ("stage", "make"), ("parts.adding", "add"), ("parts.adding", "_one"), ("parts.sizes", "SIZE")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("parts/adding.py", "x + 1", "x + 2", True),
        ("parts/adding.py", "2 * x", "3 * x", False),  # nobody on the way calls it
        ("parts/sizes.py", "SIZE = 3", "SIZE = 5", True),
        ("parts/sizes.py", "OTHER = 4", "OTHER = 5", False),
        ("parts/sizes.py", "SIZE = 3", "SIZE = 3  # metres", False),
        ("parts/sizes.py", "SIZE = 3", '"""Sizes."""\nSIZE = (3)', False),
        ("parts/sizes.py", "SIZE = 3\n", "SIZE = 3\r\n", False),
        ("parts/sizes.py", "SIZE = 3", "SIZE = 3\nprint(SIZE)", True),  # it runs when the module is imported
        ("parts/adding.py", "    return _one(x)", "    from . import sizes\n    return sizes.OTHER", True),
        ("stage.py", "parts.add", "parts.double", True),
    ],
)
def test_code_counts_where_it_is_used_and_prose_never(package, module, old, new, counts):
    folder, write = package
    before, text = code(folder), (folder / module).read_text()
    assert old in text
    write(module, text.replace(old, new))
    assert (code(folder) != before) == counts


def test_an_import_inside_a_function_counts(package):
    folder, write = package
    write("stage.py", "def make():\n    from .parts import double\n    return double(1)\n")
    assert provenance.Definition("parts.adding", "double") in provenance.definitions([("stage", "make")], folder=folder)


def test_a_module_that_is_handed_on_counts_as_a_whole(package):
    folder, write = package
    write(
        "stage.py", "from .parts import sizes\n\nALL = {'sizes': sizes}\n\ndef make():\n    return ALL['sizes'].OTHER\n"
    )
    assert provenance.Definition("parts.sizes", "OTHER") in provenance.definitions([("stage", "make")], folder=folder)


def test_a_manifest_counts_where_code_names_it(package):
    folder, write = package
    write("sizes.yaml", "a: 1\n")
    write("other.yaml", "a: 1\n")
    write("stage.py", "def make():\n    return open('sizes.yaml')\n")
    before = code(folder)
    write("other.yaml", "a: 2\n")
    assert code(folder) == before
    write("sizes.yaml", "a: 22\n")
    assert code(folder) != before


def test_following_ends_where_it_is_told_to(package):
    folder, write = package
    without = [("parts.adding", "add")]
    before = code(folder, without=without)
    write("parts/adding.py", "def add(x):\n    return 0\n")
    assert code(folder, without=without) == before


def test_a_script_counts_by_what_it_uses(package):
    folder, write = package
    script = "from llasa_lib import parts\n\nfor n in range(3):\n    print(parts.add(n))\n"
    before = provenance.code_of([script], folder=folder)
    write("parts/sizes.py", "SIZE = 30\n")
    assert provenance.code_of([script], folder=folder) == before
    write("parts/adding.py", "def add(x):\n    return x + 9\n")
    assert provenance.code_of([script], folder=folder) != before


def test_a_function_of_the_package_is_found_where_it_is_defined():
    assert provenance.Definition("signals.windows", "make_windows") in provenance.definitions([signals.make_windows])


# --- the stages ---------------------------------------------------------------------------------------------------


def readers(module):
    """Stages whose own code reaches a module."""
    return {
        name
        for name, stage in STAGES.items()
        if any(one.module == module and one.name for one in provenance.definitions(stage.code[:1], NOT_BY_A_STAGE))
    }


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("verification.vocabulary", set()),
        ("recordings.write", set()),
        ("recordings.own.exports", set()),
        ("plots", set()),
        ("cli", set()),
        ("evaluation.report", {"evaluate", "compare", "compare-full"}),
        ("recordings.hapt", {"prepare", "pretrain", "ablate", "ablate-full"}),
        ("tuning", {"tune"}),
        ("questions.answers", {"caption", "tune"}),
        ("model.alignment", {"align", "compare", "compare-full", "evaluate"}),
        ("encoder.masking", {"pretrain", "ablate", "ablate-full"}),
    ],
)
def test_a_module_makes_those_stages_again_whose_own_code_reads_it(module, stages):
    assert readers(module) == stages


ROOMS = ("verification.", "writers.", "corpora.", "recordings.own.", "timeline.")
ROOF = {"asking", "cli", "notebook", "pipeline", "plots", "provenance", "scaling", "widgets", "check"}
BESIDE = {
    "captions.diversity",
    "evaluation.claims",
    "model.pipelines",
    "questions.leaks",
    "recordings.write",
    "signals.parity",
}


def test_every_other_module_is_read_by_a_stage():
    """What no stage reads is named above, so that a module that stops counting is noticed."""
    paths = [path.relative_to(files.PACKAGE).with_suffix("") for path in files.PACKAGE.rglob("*.py")]
    modules = {".".join(path.parts) for path in paths if path.name not in ("__init__", "__main__")}
    reached = {
        one.module
        for stage in STAGES.values()
        for one in provenance.definitions(stage.code, NOT_BY_A_STAGE)
        if one.name
    }
    assert {module for module in modules - reached if not module.startswith(ROOMS)} == ROOF | BESIDE


def test_a_changed_word_of_the_verifier_makes_no_stage_again(tmp_path):
    package = shutil.copytree(files.PACKAGE, tmp_path / "llasa_lib", ignore=shutil.ignore_patterns("__pycache__"))

    def keys():
        return {name: provenance.code_of(stage.code, NOT_BY_A_STAGE, package) for name, stage in STAGES.items()}

    before = keys()
    vocabulary = package / "verification" / "vocabulary.py"
    vocabulary.write_text(vocabulary.read_text(encoding="utf-8") + "\nMORE = ('brisk',)\n", encoding="utf-8")
    writing = package / "recordings" / "write.py"
    writing.write_text(writing.read_text(encoding="utf-8").replace("def write(", "def write(more, "), encoding="utf-8")
    assert keys() == before
    facts = package / "captions" / "facts.py"
    facts.write_text(facts.read_text(encoding="utf-8").replace("STILL = ", "STILL = 2 * "), encoding="utf-8")
    assert {name for name, key in keys().items() if key != before[name]} >= {"caption", "tune"}
