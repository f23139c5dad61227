"""What an encoder must not swallow: windows that are none, other units, a phone on a table, somebody else's weights."""

import shutil

import numpy as np
import pytest
import torch
from damage import with_value
from safetensors.torch import load_file, save_file

from llasa_lib import encoder, language_models, profiles, signals
from llasa_lib.errors import ModelError

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
FULL = SMALL | {"patch_size": 4, "block": "pre_norm", "standardise": True, "fine_channels": True, "mask_token": True}
SMOKE = profiles.load("smoke")
PRETRAIN = SMOKE.encoder.model_copy(update={"epochs": 1, "batch_size": 8})
CLASSIFY = SMOKE.ablate.model_copy(update={"epochs": 1, "batch_size": 8})
NAMES = ["lying", "walking"]


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return encoder.LimuBertForPreTraining(encoder.LimuBertConfig(**SMALL | changes)).eval()


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[:16].copy()


# --- every way in, every bad window ---------------------------------------------------------------

WAYS = {
    "embed": lambda imu, folder: encoder.embed(build(**FULL), imu),
    "pretrain": lambda imu, folder: encoder.pretrain(imu, PRETRAIN, folder, config=encoder.LimuBertConfig(**FULL)),
    "fine_tune": lambda imu, folder: encoder.fine_tune(
        encoder.with_head(build(), NAMES), imu, np.zeros(len(imu), int), CLASSIFY, folder
    ),
    "classify": lambda imu, folder: encoder.classify(encoder.with_head(build(), NAMES), imu),
    "random_like": lambda imu, folder: encoder.random_like(build(**FULL), imu, seed=0),
}


BAD = {
    "too short": (lambda imu: imu[:, :100], r"shape \(16, 100, 6\)"),
    "two in one": (lambda imu: imu.reshape(8, 240, 6), r"shape \(8, 240, 6\)"),
    "no rotation": (lambda imu: imu[..., :3], r"shape \(16, 120, 3\)"),
    "one more channel": (lambda imu: np.concatenate([imu, imu[..., :1]], axis=2), r"shape \(16, 120, 7\)"),
    "NaN": (with_value(np.nan), "Window 2, step 7, channel 4 is nan"),
    "infinite": (with_value(np.inf), "Window 2, step 7, channel 4 is inf"),
    "beyond float32": (lambda imu: imu.astype(float) * 1e300, "is -?inf"),
    "in g": (lambda imu: imu / 9.80665, "multiply by 9.80665"),
    "without gravity": (lambda imu: imu - imu.mean(axis=1, keepdims=True), "gravity was removed"),
    "in degrees": (lambda imu: imu + np.array([0, 0, 0, 90, 0, 0]), "multiply by pi / 180"),
    "text": (lambda imu: imu.astype(str), "array of real numbers, not an array of <U"),
    "complex": (lambda imu: imu.astype(complex), "array of real numbers, not an array of complex128"),
    "true and false": (lambda imu: imu > 0, "array of real numbers, not an array of bool"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", BAD)
def test_bad_windows_are_refused_on_every_way_in(imu, tmp_path, way, kind):
    change, message = BAD[kind]
    with pytest.raises(ModelError, match=message):
        WAYS[way](change(imu), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "nothing may be written for windows that are refused"


def test_recordings_of_unequal_length_are_no_windows(imu):
    with pytest.raises(ModelError, match="not lists of unequal length"):
        encoder.embed(build(), [imu[0].tolist(), imu[1, :50].tolist()])


@pytest.mark.parametrize("change", [np.ndarray.tolist, torch.from_numpy, lambda imu: torch.from_numpy(imu).double()])
def test_the_same_numbers_in_another_wrapping_are_the_same_windows(imu, change):
    np.testing.assert_array_equal(encoder.embed(build(**FULL), change(imu)), encoder.embed(build(**FULL), imu))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_windows_in_half_precision_are_read(imu, dtype):
    rough = torch.from_numpy(imu).to(dtype)
    np.testing.assert_array_equal(signals.check_windows(rough), rough.float().numpy())


def test_no_window_has_no_embedding_and_teaches_nothing(imu, tmp_path):
    assert encoder.embed(build(**FULL), imu[:0]).shape == (0, 30, 16)
    for way in ("pretrain", "fine_tune"):
        with pytest.raises(ModelError, match="the data set is empty"):
            WAYS[way](imu[:0], tmp_path / "run")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels of shape \(2,\) for 16 windows"),
        (np.zeros((16, 1), int), r"labels of shape \(16, 1\)"),
        ([0] * 15 + [2], "whole numbers from 0 to 1"),
        ([0] * 15 + [-1], "whole numbers from 0 to 1"),
        ([0.5] * 16, "whole numbers from 0 to 1"),
        (["walking"] * 16, "whole numbers from 0 to 1"),
    ],
)
def test_labels_that_are_not_the_windows_own_are_refused(imu, tmp_path, labels, message):
    for classifier in (encoder.with_head(build(), NAMES), encoder.RawGru(2)):
        with pytest.raises(ModelError, match=message):
            encoder.fine_tune(classifier, imu, labels, CLASSIFY, tmp_path / "run")


# --- a phone on a table ---------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, FULL, FULL | {"gravity_aligned": True}])
@pytest.mark.parametrize("up", [(0, 0, 9.8), (0, 0, -9.8), (9.8, 0, 0)])
def test_windows_in_which_nothing_happens_are_learned_and_embedded(tmp_path, changes, up):
    table = np.zeros((16, 120, 6), np.float32)
    table[..., :3] = up
    config = encoder.LimuBertConfig(**SMALL | changes)
    model, history = encoder.pretrain(table, PRETRAIN, tmp_path / "run", config=config)
    assert np.isfinite([row["loss"] for row in history]).all()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    states = encoder.embed(model, table)
    assert np.isfinite(states).all()
    np.testing.assert_allclose(states, np.broadcast_to(states[:1], states.shape), atol=1e-5)
    for fit in (encoder.linear_probe, encoder.nearest_neighbours):
        assert set(fit(states, NAMES * 8).predict(states)) <= set(NAMES)
    classifier = encoder.with_head(model, NAMES)
    encoder.fine_tune(classifier, table, [0, 1] * 8, CLASSIFY, tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in classifier.state_dict().values())


# --- half precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("changes", [{}, FULL])
def test_a_step_in_half_precision_has_finite_losses_and_gradients(imu, dtype, changes):
    """eps = 1e-12 is 0 there: a norm of constant input must not divide by it."""
    table = np.zeros((4, 120, 6), np.float32)
    table[..., 2] = 9.8
    model = build(**changes)
    model.limu_bert.input.fit(torch.from_numpy(encoder.normalise(imu)))
    model.to(dtype).train()
    for windows in (imu[:4], table):
        values = torch.from_numpy(encoder.normalise(windows)).to(dtype)
        tokens = 120 // model.config.patch_size
        hidden = encoder.mask_spans(4, tokens, 0.4, 3).repeat_interleave(model.config.patch_size, dim=1)
        loss = model(values.masked_fill(hidden[..., None], 0), hidden, values, hidden).loss
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# --- a checkpoint of another model ----------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A function that saves an encoder to a folder of the given name."""

    def save(name, model):
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def test_a_whole_checkpoint_is_loaded_bit_for_bit(saved):
    model = build(**FULL)
    again = encoder.load(saved("whole", model))
    assert not again.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("weights", "config", "message"),
    [
        ({"hidden_size": 24}, {}, r"'fc.bias' has shape \(24,\), not \(16,\)"),
        ({}, {"share_layers": False}, r"'limu_bert.blocks.1.attention.key.bias' is missing"),
        ({}, {"standardise": True}, "'limu_bert.input.mean' is missing"),
        ({"standardise": True}, {}, "'limu_bert.input.mean' belongs to another network"),
        ({"patch_size": 4}, {}, r"'head.decoder.bias' has shape \(24,\), not \(6,\)"),
    ],
)
def test_weights_under_the_configuration_of_another_encoder_are_refused(saved, weights, config, message):
    folder, other = saved("folder", build(**config)), saved("other", build(**weights))
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        encoder.load(folder)


def test_a_language_model_is_no_encoder(saved):
    language_model, _ = language_models.load("tiny", chat="chatml")
    with pytest.raises(ModelError, match="a model of the kind 'llama'; a LIMU-BERT is needed"):
        encoder.load(saved("llama", language_model))


def test_an_encoder_without_its_head_is_named_by_what_it_lacks(saved):
    with pytest.raises(ModelError, match=r"'fc\.bias' is missing"):
        encoder.load(saved("alone", build().limu_bert))


def test_weights_that_are_not_finite_are_refused(saved):
    folder = saved("broken", build())
    tensors = load_file(folder / "model.safetensors")
    tensors["head.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"'head\.norm\.weight' is not finite"):
        encoder.load(folder)


@pytest.mark.parametrize("harm", ["no folder", "no weights", "no configuration", "cut weights", "cut configuration"])
def test_a_folder_without_a_whole_checkpoint_is_named(saved, tmp_path, harm):
    folder = saved("folder", build())
    weights, config = folder / "model.safetensors", folder / "config.json"
    if harm == "no folder":
        folder = tmp_path / "nothing"
    elif harm == "no weights":
        weights.unlink()
    elif harm == "no configuration":
        config.unlink()
    elif harm == "cut weights":
        weights.write_bytes(weights.read_bytes()[:500])
    else:
        config.write_text(config.read_text()[:50])
    with pytest.raises(ModelError, match=f"{folder} holds no encoder that can be read"):
        encoder.load(folder)
