"""Killed at any moment, or on a full disk, a training goes on later and ends where it would have ended."""

import contextlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training import at, fit, interrupt, uninterrupted, weights  # noqa: F401 - a fixture

from llasa_lib import files, training
from llasa_lib.errors import ArtifactError
from llasa_lib.pipeline import Pipeline

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def killed(small_home):
    """Stages made by processes that were killed three times each; what happened, and what was printed."""
    home, seed = small_home(), random.randrange(10**6)
    print("seed of the moments:", seed)  # shown where a test fails
    path = os.pathsep.join([str(files.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "interrupted.py", str(home / "small.yaml"), str(seed)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "LLASA_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=600,
        cwd=TESTS,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    run = Pipeline(str(home / "small.yaml"), folder=home / "artifacts" / "small")
    return run, json.loads(ended.stdout.splitlines()[-1]), ended.stderr


@pytest.mark.parametrize(("stage", "file"), [("align", "model.safetensors"), ("tune", "adapter_model.safetensors")])
def test_a_stage_that_was_killed_at_any_moment_ends_with_the_weights_of_an_uninterrupted_one(
    killed, small_run, stage, file
):
    run, happened, _ = killed
    statuses = [attempt["status"] for attempt in happened[stage]]
    # A kill may come after the last step; then the stage is made, and the attempts that follow load it.
    assert statuses[1] == -signal.SIGKILL
    assert statuses[-1] == 0
    torch.testing.assert_close(
        load_file(run.folder / stage / file), load_file(small_run.folder / stage / file), rtol=0, atol=1e-5
    )
    assert [row["step"] for row in run.history(stage)] == [row["step"] for row in small_run.history(stage)]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(killed):
    _, happened, said = killed
    for stage in ("align", "tune"):
        assert happened[stage][1]["half"]
        assert happened[stage][1]["complete"]
    begins = [int(step) for step in re.findall(r"begins at (\d+)", said)]
    assert len(begins) >= 6
    assert sum(step > 0 for step in begins) >= 4, "the attempts after the first go on, they do not start again"


def test_nothing_is_left_of_the_killed_attempts(killed):
    run = killed[0]
    assert not any(path.name.endswith((".partial", ".old")) for path in run.folder.rglob("*"))
    assert list((run.folder / ".work").iterdir()) == []


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with room for one checkpoint, and a way to enlarge it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode

    if not hasattr(os, "geteuid") or os.geteuid() or mount("size=32k"):
        pytest.skip("only root can mount a disk")
    try:
        yield folder, lambda: mount("remount,size=4m")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_in_one_sentence_and_keeps_the_last_good_checkpoint(small_disk, uninterrupted):  # noqa: F811
    disk, enlarge = small_disk
    with pytest.raises(ArtifactError, match=r"checkpoint-10 could not be written \(.*\)\. Is the disk full\?") as told:
        fit(disk / "work")
    assert "\n" not in str(told.value)
    assert [path.name for path in (disk / "work").iterdir()] == ["checkpoint-5"]
    assert enlarge() == 0
    model, history = fit(disk / "work")
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=1e-7)
    assert [row["step"] for row in history] == [row["step"] for row in uninterrupted[1]]


@contextlib.contextmanager
def limited_files():
    """For those who cannot mount a disk: after step 6, no file may grow beyond 1 kB. Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    try:
        yield at(6, lambda model: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1])))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, uninterrupted):  # noqa: F811
    with limited_files() as limit, pytest.raises(ArtifactError, match="checkpoint-10 could not be written"):
        fit(tmp_path / "work", on_step=limit)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["checkpoint-5"]
    model, _ = fit(tmp_path / "work")
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=1e-7)


def test_checkpoints_that_are_being_removed_do_not_seem_complete(tmp_path):
    """A kill in the middle of the clean-up must not leave a checkpoint that the next run would go on from."""
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=at(8, interrupt))
    kept = tmp_path / "checkpoint-5"
    (kept / training.STATE).unlink()  # the first thing that is removed
    (kept / training.TRAINABLE).unlink()
    assert training._last_complete(tmp_path) is None
