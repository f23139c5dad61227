"""The training loop: an interrupted run goes on where it was, and a broken one says so and keeps what was good."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import NO_OBJECTS
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from llasa_lib import encoder, language_models, profiles, training
from llasa_lib.errors import ArtifactError, ModelError, ProfileError

SETTINGS = profiles.Training(epochs=1, batch_size=4, learning_rate=0.05)
OFTEN = {"log_every": 2, "save_every": 5}


class Line(nn.Module):
    """Two trainable parts and a frozen one; learns y = 3 x."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.slow, self.fast, self.frozen = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
        training.freeze(self.frozen)

    def forward(self, input_ids, y):
        x = input_ids.float().mean(1, keepdim=True)
        # Dropout draws random numbers: a resumed run must draw the same ones.
        return {"loss": nn.functional.mse_loss(nn.functional.dropout(self.slow(x) + self.fast(x), 0.1), y)}


class Points(torch.utils.data.Dataset):
    """Samples of different length, as conversations are; one of them may be broken."""

    def __init__(self, count=64, broken=None):
        self.x = torch.linspace(-1, 1, count)
        self.broken = broken

    def __len__(self):
        return len(self.x)

    def __getitem__(self, n):
        y = float("nan") if n == self.broken else 3 * float(self.x[n])
        return {"input_ids": [float(self.x[n])] * (1 + n % 5), "y": [y]}


def collate(batch):
    longest = max(len(sample["input_ids"]) for sample in batch)
    padded = [sample["input_ids"] + [0.0] * (longest - len(sample["input_ids"])) for sample in batch]
    return {"input_ids": torch.tensor(padded), "y": torch.tensor([sample["y"] for sample in batch])}


def at(step, act):
    """Do something once so many steps are made."""
    return lambda made, model: act(model) if made == step else None


def interrupt(model):
    raise KeyboardInterrupt


def kill(model):
    os.kill(os.getpid(), signal.SIGKILL)


def fit(folder, model=None, data=None, **changes):
    model = model or Line()
    settings = SETTINGS.model_copy(update={k: changes.pop(k) for k in list(changes) if hasattr(SETTINGS, k)})
    history = training.fit(
        model, data or Points(), folder, settings, changes.pop("seed", 0), collate=collate, **{**OFTEN, **changes}
    )
    return model, history


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    model, history = fit(tmp_path_factory.mktemp("whole") / "work")
    return weights(model), history


# --- going on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shuffle", "precision"), [(True, "float32"), (False, "float32"), (True, "bfloat16")])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch, shuffle, precision):
    monkeypatch.setenv("LLASA_PRECISION", precision)
    whole, history = fit(tmp_path / "whole", shuffle=shuffle)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "work", shuffle=shuffle, on_step=at(8, interrupt))
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-5"]
    again, resumed = fit(tmp_path / "work", shuffle=shuffle)
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)
    assert resumed == history


def test_a_killed_process_leaves_a_checkpoint_that_the_next_one_goes_on_from(tmp_path, uninterrupted):
    code = "import test_training as t, sys; t.fit(sys.argv[1], on_step=t.at(12, t.kill))"
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "work")], cwd=here, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    model, _ = fit(tmp_path / "work")
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=1e-7)


def test_a_checkpoint_that_was_cut_off_while_it_was_written_is_passed_over(tmp_path, uninterrupted):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "work", on_step=at(8, interrupt))
    half = tmp_path / "work" / "checkpoint-10"
    shutil.copytree(tmp_path / "work" / "checkpoint-5", half)
    (half / training.STATE).write_text('{"step": 1')
    model, _ = fit(tmp_path / "work")
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=1e-7)


def test_a_finished_run_leaves_no_checkpoint(tmp_path):
    fit(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_finished_run_that_was_kept_gives_its_model_again_without_a_step(tmp_path, uninterrupted):
    fit(tmp_path / "work", keep=True)
    model, history = fit(tmp_path / "work", on_step=at(1, interrupt))
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=0)
    assert [row["step"] for row in history] == [row["step"] for row in uninterrupted[1]]
    assert not (tmp_path / "work").exists()


def test_a_checkpoint_holds_only_what_is_trained(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=at(8, interrupt))
    saved = load_file(tmp_path / "checkpoint-5" / training.TRAINABLE)
    assert set(saved) == {"slow.weight", "slow.bias", "fast.weight", "fast.bias"}


class Scaled(Line):
    """A line whose input is scaled by what was learned before training, and by what is learned on the way."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.norm = nn.BatchNorm1d(1, affine=False)

    def forward(self, input_ids, y):
        x = self.norm(input_ids.float().mean(1, keepdim=True)) * self.scale
        return {"loss": nn.functional.mse_loss(self.slow(x) + self.fast(x), y)}


def test_a_fresh_model_goes_on_with_the_scales_of_the_interrupted_one(tmp_path):
    whole, _ = fit(tmp_path / "whole", model=Scaled(2.0))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "work", model=Scaled(2.0), on_step=at(8, interrupt))
    saved = load_file(tmp_path / "work" / "checkpoint-5" / training.TRAINABLE)
    assert {"scale", "norm.running_mean", "norm.running_var"} < set(saved)
    assert "table" not in saved, "what follows from the configuration is not saved"
    again, _ = fit(tmp_path / "work", model=Scaled())
    assert again.scale == 2
    assert again.norm.num_batches_tracked == whole.norm.num_batches_tracked == 16
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=1e-7)


def test_a_fresh_encoder_goes_on_with_the_scales_of_its_input(tmp_path):
    config = encoder.LimuBertConfig(hidden_size=8, intermediate_size=8, patch_size=8, standardise=True)
    trained, fresh = (encoder.LimuBertForPreTraining(config) for _ in range(2))
    windows = torch.randn(8, 120, 6) * 3 + 1
    trained.limu_bert.input.fit(windows)
    data = [{"imu_values": window, "labels": window} for window in windows]
    settings = SETTINGS.model_copy(update={"batch_size": 1})
    with pytest.raises(KeyboardInterrupt):
        training.fit(trained, data, tmp_path, settings, 0, save_every=5, on_step=at(6, interrupt))
    training.fit(fresh, data, tmp_path, settings, 0)
    assert torch.equal(fresh.limu_bert.input.mean, trained.limu_bert.input.mean)
    assert torch.equal(fresh.limu_bert.input.std, trained.limu_bert.input.std)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=at(8, interrupt))
    other = Line()
    training.freeze(other.slow)
    with pytest.raises(ArtifactError, match=r"belongs to another model \(first difference: slow.bias\)"):
        fit(tmp_path, model=other)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / training.TRAINABLE
    path.write_bytes(b"not a tensor")
    with pytest.raises(ArtifactError, match="cannot be read"):
        training.load_trainable(Line(), path)


def spoiled(**values):
    def spoil(path):
        state = json.loads((path / training.STATE).read_text())
        (path / training.STATE).write_text(json.dumps(state | values))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda path, text=text: (path / training.STATE).write_bytes(text) for text in NO_OBJECTS),
        *(spoiled(step=step) for step in ("two", None, -5, 10**12, 6)),
        *(spoiled(history=rows) for rows in (None, {}, [3], [{"loss": 1.0}], [{"step": "two"}])),
        *(spoiled(random=drawn) for drawn in (None, "00", [["00", 3]])),
        spoiled(loss="small"),
    ],
)
def test_a_checkpoint_whose_state_is_damaged_is_not_gone_on_from(tmp_path, uninterrupted, spoil):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "work", on_step=at(8, interrupt))
    (tmp_path / "work" / "checkpoint-mine").mkdir()
    spoil(tmp_path / "work" / "checkpoint-5")
    model, history = fit(tmp_path / "work")
    torch.testing.assert_close(weights(model), uninterrupted[0], rtol=0, atol=1e-7)
    assert history == uninterrupted[1]


def other_averages(path):
    saved = load_file(path / training.OPTIMIZER)
    save_file({f"other.{name}": value for name, value in saved.items()}, path / training.OPTIMIZER)


def wide_averages(path):
    saved = load_file(path / training.OPTIMIZER)
    save_file({k: v.repeat(3, 1) if v.ndim == 2 else v for k, v in saved.items()}, path / training.OPTIMIZER)


@pytest.mark.parametrize(
    "spoil",
    [spoiled(random=[]), spoiled(random=[["00"]]), spoiled(random=[["no hex"]]), other_averages, wide_averages],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_sentence(tmp_path, spoil):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=at(8, interrupt))
    spoil(tmp_path / "checkpoint-5")
    with pytest.raises(ArtifactError, match=r"checkpoint-5 holds no checkpoint of this run") as caught:
        fit(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_another_width_is_refused(tmp_path):
    wide = {name: torch.zeros(2, *value.shape) for name, value in Line().named_parameters() if "frozen" not in name}
    save_file(wide, tmp_path / training.TRAINABLE)
    with pytest.raises(ArtifactError, match="belongs to another model"):
        training.load_trainable(Line(), tmp_path / training.TRAINABLE)


# --- what is trained ----------------------------------------------------------------------------------------------


def test_it_learns_and_the_frozen_part_does_not_move(tmp_path):
    model, history = fit(tmp_path, epochs=4)
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]
    assert torch.equal(model.frozen.weight, Line().frozen.weight)


def test_each_group_gets_its_own_learning_rate(tmp_path, monkeypatch):
    before = weights(Line())
    seen = []

    class Seen(torch.optim.AdamW):
        def __init__(self, groups, **options):
            seen.extend((group["lr"], len(group["params"])) for group in groups)
            super().__init__(groups, **options)

    monkeypatch.setattr(torch.optim, "AdamW", Seen)
    model, _ = fit(tmp_path, groups={"slow": 1e-6}, scheduler="constant")
    assert sorted(seen) == [(1e-6, 2), (0.05, 2)]
    assert (model.slow.weight - before["slow.weight"]).abs() < 1e-4 < (model.fast.weight - before["fast.weight"]).abs()


def test_the_history_has_the_steps_of_the_run(uninterrupted):
    history = uninterrupted[1]
    assert [row["step"] for row in history] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert all(set(row) == {"step", "epoch", "loss", "learning_rate"} for row in history)


def test_the_last_step_is_always_in_the_history(tmp_path):
    _, short = fit(tmp_path, data=Points(12), log_every=5)
    assert [row["step"] for row in short] == [3]
    assert np.isfinite(short[0]["loss"])
    _, odd = fit(tmp_path, data=Points(28), log_every=3)
    assert [row["step"] for row in odd] == [3, 6, 7]
    _, even = fit(tmp_path, data=Points(24), log_every=3)
    assert [row["step"] for row in even] == [3, 6]


def test_the_same_seed_gives_the_same_weights(tmp_path, uninterrupted):
    again, _ = fit(tmp_path / "again")
    other, _ = fit(tmp_path / "other", seed=1)
    torch.testing.assert_close(weights(again), uninterrupted[0], rtol=0, atol=0)
    assert not torch.equal(other.fast.weight, again.fast.weight)


@given(st.lists(st.integers(1, 200), max_size=80), st.integers(1, 9), st.integers(0, 5))
def test_batches_of_similar_length_lose_no_sample_and_cost_no_more_padding_than_the_best(lengths, size, seed):
    order = training.order_by_length(lengths, size, seed)
    assert sorted(order) == list(range(len(lengths)))
    whole = len(lengths) // size * size
    batches = np.asarray(lengths)[order[:whole]].reshape(-1, size)
    # No batch reaches into another one: sorted by their shortest, each begins where the last one ended.
    batches = batches[np.lexsort((batches.max(1), batches.min(1)))] if len(batches) else batches
    assert all(a.max() <= b.min() for a, b in itertools.pairwise(batches))


def test_long_and_short_batches_are_mixed():
    firsts = np.arange(400)[training.order_by_length(range(400), 4, seed=0)][::4]
    assert abs(np.corrcoef(firsts, np.arange(100))[0, 1]) < 0.4


# --- half precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
    ],
)
def test_a_cpu_that_multiplies_bfloat16_is_asked_to(monkeypatch, able, dtype):
    monkeypatch.delenv("LLASA_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert language_models.pick_autocast("cpu") is dtype


class Typed(Line):
    """A line that remembers in which type it multiplied."""

    def forward(self, input_ids, y):
        self.product = self.slow(input_ids.float().mean(1, keepdim=True)).dtype
        return super().forward(input_ids, y)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_have_the_precision_that_is_asked_for_and_weights_stay_float32(tmp_path, monkeypatch, precision):
    monkeypatch.setenv("LLASA_PRECISION", precision)
    model, history = fit(tmp_path / "one", model=Typed(), epochs=4)
    assert model.product is getattr(torch, precision)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]
    again, repeated = fit(tmp_path / "two", model=Typed(), epochs=4)
    torch.testing.assert_close(weights(again), weights(model), rtol=0, atol=0)
    assert repeated == history
    model(torch.ones(1, 1), torch.ones(1, 1))
    assert model.product is torch.float32, "half precision ends with the training"


def test_an_unknown_precision_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LLASA_PRECISION", "half")
    with pytest.raises(ProfileError, match=r"LLASA_PRECISION is 'half'\. Set it to float32 or bfloat16"):
        fit(tmp_path)


# --- when it breaks -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, on_step=at(8, interrupt))
    good = load_file(tmp_path / "checkpoint-5" / training.TRAINABLE)

    def poison(model):
        torch.nn.init.constant_(model.fast.weight, float("nan"))

    with pytest.raises(ModelError, match="The loss became nan at step 8"):
        fit(tmp_path, on_step=at(7, poison))
    kept = load_file(tmp_path / "checkpoint-5" / training.TRAINABLE)
    assert all(torch.equal(kept[name], good[name]) and torch.isfinite(kept[name]).all() for name in good)


def test_a_broken_sample_never_becomes_a_checkpoint(tmp_path):
    """The checkpoint is due at the very step whose loss is broken."""
    with pytest.raises(ModelError, match="The loss became nan"):
        fit(tmp_path, data=Points(broken=3), log_every=1, save_every=1)
    for path in tmp_path.glob(f"checkpoint-*/{training.TRAINABLE}"):
        assert all(torch.isfinite(value).all() for value in load_file(path).values()), path


def test_parameters_are_counted_by_whether_they_are_trained():
    assert training.count(Line()) == (4, 6)
