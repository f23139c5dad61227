"""Several processes train what one would train: two real ones on this CPU, started by ``accelerate launch``.

DDP and FSDP run as the configurations that come with the library say.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
import together
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file

from llasa_lib import files, language_models, model, processes, profiles, signals, training
from llasa_lib.errors import ArtifactError, ProfileError
from llasa_lib.pipeline import Pipeline

CONFIGURATIONS = profiles.FOLDER / "accelerate"
ENGINES = ("ddp", "fsdp")
TESTS = Path(__file__).parent


class Launched(NamedTuple):
    engine: str
    run: Pipeline  # over the stages that were made
    folder: Path  # of files that together.py wrote
    found: list  # what it found out, in each process
    printed: str  # by `llasa tune`, in the main process
    status: int  # with which the launcher ended


@pytest.fixture(scope="module", params=ENGINES)
def launched(request, small_home, tmp_path_factory):
    """Two processes that make the stages, then train some more; in the end one of them is killed."""
    engine, home, folder = request.param, small_home(), tmp_path_factory.mktemp(request.param)
    if engine == "ddp":  # one stage before training is left to the main process
        (home / "artifacts" / "small" / "caption" / "stage.json").unlink()
    # As `accelerate launch --config_file ... tests/together.py ...`; the processes import the library that is tested.
    command = ["-m", "accelerate.commands.launch", "--config_file", CONFIGURATIONS / f"{engine}.yaml", "together.py"]
    command += [folder, home / "small.yaml"]
    path = os.pathsep.join([str(files.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        cwd=TESTS,
    )
    written = [folder / f"found-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in written), ended.stderr[-4000:]
    return Launched(
        engine,
        Pipeline(str(home / "small.yaml"), folder=home / "artifacts" / "small"),
        folder,
        [json.loads(path.read_text()) for path in written],
        (folder / "printed.txt").read_text(),
        ended.returncode,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same training in this process: model, loss curve, loss curve without shuffling."""
    work = tmp_path_factory.mktemp("one") / "work"
    whole, history = together.fit(work)
    return together.trained(whole), history, together.fit(work, shuffle=False)[1]


def losses(history):
    return torch.tensor([row["loss"] for row in history])


# --- the stages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stage", "file"), [("align", "model.safetensors"), ("tune", "adapter_model.safetensors")])
def test_two_processes_learn_what_one_learns(launched, small_run, stage, file):
    run = launched.run
    assert [mine["tune"] for mine in launched.found] == [0, 0]
    theirs, alone = run.history(stage), small_run.history(stage)
    assert [row["step"] for row in theirs] == [row["step"] for row in alone] == [5, 10]
    torch.testing.assert_close(losses(theirs), losses(alone), rtol=0, atol=1e-4)
    weights, wanted = (load_file(folder / stage / file) for folder in (run.folder, small_run.folder))
    assert all(value.numel() for value in weights.values())
    # Adam divides by the size of a gradient: where that is nearly nothing, rounding shows. A step is 1e-3.
    torch.testing.assert_close(weights, wanted, rtol=0, atol=5e-5)


def test_what_two_processes_made_answers_as_what_one_made(launched, small_run, hapt_windows):
    window = signals.to_array(hapt_windows)[0]
    answers = []
    for run in (launched.run, small_run):
        llasa, processor = model.load(run.folder / "tune")
        inputs = processor(imu=window, text="What is the person doing?", return_tensors="pt")
        answers.append(llasa.generate(**inputs, max_new_tokens=6, do_sample=False))
    assert answers[0].shape[1] > 0
    assert torch.equal(*answers)


def test_each_stage_is_made_once_and_nothing_is_left_over(launched):
    run, printed = launched.run, launched.printed
    made = [line.split()[2] for line in printed.splitlines() if line.startswith("llasa: making")]
    assert made in (["caption", "align", "tune"], ["align", "tune"])
    assert printed.count("adapter:") == 1
    assert not any(path.name.endswith((".partial", ".old")) for path in run.folder.rglob("*"))
    assert list((run.folder / ".work").iterdir()) == []


# --- the loop -----------------------------------------------------------------------------------------------------


def test_batches_are_those_of_one_process_in_any_order_also_where_one_gets_no_sample(launched, one):
    assert together.SAMPLES % together.SETTINGS.batch_size == 1
    for mine in launched.found:
        torch.testing.assert_close(losses(mine["whole"]), losses(one[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(losses(mine["in order"]), losses(one[2]), rtol=0, atol=1e-4)
    torch.testing.assert_close(load_file(launched.folder / "whole.safetensors"), one[0], rtol=0, atol=1e-5)


def test_an_interrupted_run_of_two_processes_ends_with_the_weights_of_an_uninterrupted_one(launched, one):
    for mine in launched.found:
        assert mine["checkpoints"] == ["checkpoint-5"]
        assert mine["begins"] == 5
        torch.testing.assert_close(losses(mine["resumed"]), losses(one[1]), rtol=0, atol=1e-4)
    torch.testing.assert_close(load_file(launched.folder / "resumed.safetensors"), one[0], rtol=0, atol=1e-5)


def test_a_checkpoint_of_several_processes_is_of_whole_weights(launched, one):
    saved = load_file(launched.folder / "checkpoint.safetensors")
    assert {name: value.shape for name, value in saved.items()} == {n: value.shape for n, value in one[0].items()}


def test_nan_in_one_process_ends_all_of_them_with_the_last_good_checkpoint(launched):
    for mine in launched.found:
        told, kept = mine["spoilt"]
        assert told.startswith("The loss became nan at step 8.")
        assert kept == ["checkpoint-5"]


def test_fsdp_keeps_a_part_of_each_weight_in_each_process(launched, one):
    whole = sum(value.numel() for value in one[0].values())
    parts = [mine["numbers"] for mine in launched.found]
    assert parts == [whole, whole] if launched.engine == "ddp" else (sum(parts) == whole and all(parts))


def test_nobody_waits_for_a_process_that_was_killed(launched):
    assert launched.status
    assert not (launched.folder / "hung").exists()


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(processes, "join", lambda: pytest.fail("it waited for the others"))
    with pytest.raises(ProfileError, match="batch_size of align is 16, which 3 processes cannot share"):
        training.share(16, "align")
    with pytest.raises(ProfileError, match="is 4, which 3 processes"):
        together.fit(tmp_path)
    assert training.share(15) == 5


def test_one_process_takes_the_whole_batch(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert training.share(7) == 7
    assert processes.agree("as it is") == "as it is"


def test_what_the_main_process_makes_alone_it_makes_without_the_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.alone(processes.count) == 1
    assert processes.alone(processes.is_sharded) is False
    with pytest.raises(ProfileError, match="no profile 'absent'"):
        processes.alone(profiles.load, "absent")


# --- saving -------------------------------------------------------------------------------------------------------


def test_a_model_with_an_empty_weight_is_not_saved(llasa, tiny_llasa, tmp_path):
    llasa.model.projector.register_parameter("shard", torch.nn.Parameter(torch.empty(0)))
    with pytest.raises(ArtifactError, match=r"projector\.shard would be empty"):
        model.save(llasa, tiny_llasa[1], tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


# --- configurations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_knows_every_entry_of_a_configuration(path):
    loaded = load_config_from_file(str(path))  # refuses unknown keys of the first level
    known = vars(launch_command_parser().parse_args(["script.py"]))
    inner = loaded.fsdp_config or {}
    assert set(inner) <= set(known)
    assert loaded.num_processes == 2
    assert bool(inner) == (path.stem != "ddp")


def test_the_configurations_name_the_layers_of_the_models_they_are_for():
    layers = yaml.safe_load((CONFIGURATIONS / "fsdp.yaml").read_text())["fsdp_config"]
    wanted = {type(module).__name__ for module in language_models.load_model("tiny").modules()}
    assert layers["fsdp_transformer_layer_cls_to_wrap"] in wanted


def test_configurations_are_no_profiles_and_travel_with_the_package():
    assert {path.stem for path in CONFIGURATIONS.glob("*.yaml")} == {"ddp", "fsdp"}
    assert profiles.names() == ["colab", "cpu", "paper", "smoke"]
    data = tomllib.loads((files.PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "profiles/accelerate/*.yaml" in data["llasa_lib"]
