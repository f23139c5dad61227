"""Variants of LIMU-BERT: what they read of a window, what hidden steps may tell, and that each is saved and resumed."""

import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification

from llasa_lib import encoder, profiles, signals
from llasa_lib.encoder import network
from llasa_lib.errors import ModelError

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
FULL = SMALL | {"patch_size": 4, "block": "pre_norm", "standardise": True, "fine_channels": True, "mask_token": True}
SMOKE = profiles.load("smoke").encoder
KINDS = list(itertools.product(network.BLOCKS, (1, 4), (True, False), (True, False)))
NAMES = ("block", "patch_size", "share_layers", "mask_token")


def build(cls=encoder.LimuBertForPreTraining, seed=0, **changes):
    torch.manual_seed(seed)
    return cls(encoder.LimuBertConfig(**SMALL | changes)).eval()


def reader(values=None, **changes):
    """The input layer alone, fitted to windows."""
    made = network.LimuBertInput(encoder.LimuBertConfig(**SMALL | changes))
    if values is not None:
        made.fit(values)
    return made


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows).copy()


@pytest.fixture(scope="module")
def values(imu):
    return torch.from_numpy(encoder.normalise(imu))


@pytest.fixture(scope="module")
def activities(hapt_windows):
    return np.array(hapt_windows["activity"])


@pytest.fixture(scope="module")
def full(values):
    """The network of the profile cpu, smaller, with scales and a mask token that are not zero."""
    made = build(**FULL)
    made.limu_bert.input.fit(values)
    torch.nn.init.normal_(made.limu_bert.embeddings.mask_token)
    return made


# --- what the network reads -----------------------------------------------------------------------


def test_the_published_network_reads_the_window_itself(values):
    hidden = torch.rand(values.shape[:2]) < 0.3
    assert reader(values)(values, hidden) is values
    assert list(reader().buffers()) == []
    model = build()
    assert torch.equal(model(values[:4], hidden=hidden[:4]).reconstruction, model(values[:4]).reconstruction)


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("aligned", [True, False])
def test_standardised_channels_have_mean_0_and_spread_1_over_the_training_windows(values, fine, aligned):
    features = reader(values, standardise=True, fine_channels=fine, gravity_aligned=aligned)(values).flatten(0, 1)
    assert features.shape[1] == (12 if fine else 6)
    torch.testing.assert_close(features.mean(0), torch.zeros(features.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(features.shape[1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("fine", [True, False])
def test_undo_gives_the_window_back(values, standardise, fine):
    made = reader(values, standardise=standardise, fine_channels=fine)
    torch.testing.assert_close(made.undo(made(values)), values, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.floats(-3, 3))
def test_a_shift_of_the_whole_window_leaves_its_fine_channels_alone(seed, shift):
    still = torch.randn(2, 120, 6, generator=torch.Generator().manual_seed(seed)) * 0.01
    fine = reader(fine_channels=True)
    # A deviation is rounded where the window lies: 1e-7 of 3, against noise of 1e-3.
    torch.testing.assert_close(fine(still + shift)[..., 6:], fine(still)[..., 6:], atol=2e-3, rtol=0)
    torch.testing.assert_close(fine(still + shift)[..., :6], still + shift)


def test_a_movement_a_hundred_times_smaller_is_as_large_in_the_fine_channels():
    wave = np.zeros((2, 120, 6), dtype=np.float32)
    wave[..., 2] = 9.8
    wave[..., 0] = np.array([[0.02], [2.0]]) * np.sin(np.arange(120) * 2 * np.pi / 20)
    features = reader(fine_channels=True)(torch.from_numpy(encoder.normalise(wave)))
    sway, step = features[..., 0].std(1)
    assert step / sway == pytest.approx(100, rel=1e-3)
    sway, step = features[..., 6].std(1)
    assert 1 < step / sway < 10
    assert sway > 0.5, "above the noise, and a number that a network can see"


def test_a_channel_that_never_moved_is_not_blown_up(values):
    dead = values.clone()
    dead[..., 3:] = 0
    dead[..., 1] = 0.3
    made = reader(dead, standardise=True, fine_channels=True)
    assert torch.isfinite(made(dead)).all()
    assert made(values).abs().max() < 1000


# --- hidden steps ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share=st.floats(0, 1),
    size=st.floats(-20, 25).map(lambda power: 10**power),
    patch_size=st.sampled_from([1, 4]),
    fine=st.booleans(),
    aligned=st.booleans(),
    block=st.sampled_from(network.BLOCKS),
)
@example(0, 1.0, 1e3, 4, True, True, "pre_norm")  # nothing to be seen at all
def test_the_content_of_hidden_steps_cannot_be_seen(seed, share, size, patch_size, fine, aligned, block):
    """Not by way of a mean, a spread, or a turn either; spans need not keep to tokens."""
    changes = {"fine_channels": fine, "gravity_aligned": aligned, "standardise": True, "mask_token": True}
    model = build(block=block, patch_size=patch_size, **changes)
    draw = torch.Generator().manual_seed(seed)
    window = torch.randn(2, 120, 6, generator=draw)
    hidden = torch.rand(2, 120, generator=draw) < share
    other = torch.where(hidden[..., None], size * torch.randn(2, 120, 6, generator=draw), window)
    read = [model.limu_bert.embeddings(model.limu_bert.input(one, hidden), hidden) for one in (window, other)]
    assert torch.equal(*read)
    assert torch.isfinite(read[0]).all()
    assert torch.equal(model(window, hidden=hidden).reconstruction, model(other, hidden=hidden).reconstruction)


def test_hidden_tokens_are_all_alike_but_for_their_place(full, values):
    hidden = torch.zeros(8, 120, dtype=torch.bool)
    hidden[:, 40:60] = True
    embeddings = full.limu_bert.embeddings(full.limu_bert.input(values[:8], hidden), hidden)[:, 10:15]
    without = embeddings - full.limu_bert.embeddings.position_embeddings.weight[10:15]
    torch.testing.assert_close(without, full.limu_bert.embeddings.mask_token.expand_as(without))


def test_the_loss_compares_with_channels_formed_from_visible_steps(full, values):
    """Else the target of a fine channel would hang on a mean that the network cannot know."""
    hidden = torch.zeros(4, 120, dtype=torch.bool)
    hidden[:, :48] = True
    target = full.limu_bert.input(values[:4], hidden)
    features = full.head(full.limu_bert(values[:4], hidden).last_hidden_state)
    loss = full(values[:4], hidden, values[:4], hidden).loss
    torch.testing.assert_close(loss, (features - target).square()[hidden].mean())


# --- the turn to gravity --------------------------------------------------------------------------


def upright(values):
    """In float64, by the text book: the shortest turn from the mean acceleration to +z, one window at a time."""
    turned = []
    for window in np.asarray(values, dtype=np.float64):
        up = window[:, :3].mean(0)
        up = up / np.linalg.norm(up)
        axis = np.cross(up, [0, 0, 1])
        sine = np.linalg.norm(axis)
        axis = axis / sine if sine > 1e-9 else np.array([1.0, 0, 0])
        turn = Rotation.from_rotvec(axis * np.arctan2(sine, up[2])).as_matrix()
        turned.append(np.concatenate([window[:, :3] @ turn.T, window[:, 3:] @ turn.T], axis=1))
    return np.stack(turned)


def heading_free(windows):
    """What no turn about z changes: sizes, heights, and the angle between the level parts, with its sign."""
    a, w = np.asarray(windows)[..., :3], np.asarray(windows)[..., 3:]
    cross = a[..., 0] * w[..., 1] - a[..., 1] * w[..., 0]
    along = a[..., 0] * w[..., 0] + a[..., 1] * w[..., 1]
    sizes = [np.linalg.norm(part, axis=-1) for part in (a, w, a[..., :2], w[..., :2])]
    return np.stack([a[..., 2], w[..., 2], cross, along, *sizes], axis=-1)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1))
@example((0, 0, 0, 1))
@example((1, 0, 0, 0))  # half a turn about x: upside down
@example((0, 1, 0, 0))
@example((0, 0, 1, 0))
@example((1, 0, 0, 1e-8))  # upside down but for what float32 cannot tell
@example((1, 0, 0, 1e-4))
@example((0.6, 0.8, 0, 1e-3))
@example((1, 0, 0, 1))  # lying
def test_however_the_sensor_was_worn_gravity_points_up(some_windows, quaternion):
    worn = signals.rotate(some_windows, Rotation.from_quat(quaternion).as_matrix())
    seen = reader(gravity_aligned=True)(torch.from_numpy(worn.astype(np.float32))).numpy()
    mean = some_windows[..., :3].mean(1)
    np.testing.assert_allclose(seen[..., :3].mean(1)[:, :2], 0, atol=2e-6)
    np.testing.assert_allclose(seen[..., 2].mean(1), np.linalg.norm(mean, axis=1), rtol=1e-5)
    expected = heading_free(upright(some_windows))
    np.testing.assert_allclose(heading_free(seen), expected, atol=2e-5)


@pytest.fixture(scope="module")
def some_windows(values):
    return values[::16].double().numpy()


def test_gravity_is_turned_up_by_the_shortest_way(values):
    seen = reader(gravity_aligned=True)(values).numpy()
    np.testing.assert_allclose(seen, upright(values), atol=2e-5)


def test_a_little_tilt_turns_the_window_a_little(some_windows):
    """A phone on a belt has gravity along x, and its z is now above and now below the level."""
    for axis in ([0, -90, 0], [90, 0, 0], [60, 50, 0]):
        level = signals.rotate(upright(some_windows), Rotation.from_euler("xyz", axis, degrees=True).as_matrix())
        tilts = [Rotation.from_euler("y", angle, degrees=True).as_matrix() for angle in (-0.2, 0.2)]
        below, above = (
            reader(gravity_aligned=True)(torch.from_numpy(signals.rotate(level, tilt).astype(np.float32))).numpy()
            for tilt in tilts
        )
        assert np.abs(below - above).max() < 0.02 * np.abs(level).max()


def test_it_agrees_with_align_to_gravity_on_people_who_stand_still(imu, values, activities):
    still = np.isin(activities, ["standing", "sitting", "lying"])
    ours = reader(gravity_aligned=True)(values[torch.from_numpy(still)]).numpy()
    theirs = encoder.normalise(signals.align_to_gravity(imu[still]))
    # Gravity is estimated otherwise there: the difference is a tilt, and so grows with what is turned.
    assert np.median(np.abs(heading_free(ours) - heading_free(theirs))) < 1e-3


@pytest.mark.parametrize("content", [torch.zeros, torch.ones])
def test_windows_without_gravity_stay_finite(content):
    model = build(**FULL | {"gravity_aligned": True})
    window = content(2, 120, 6)
    window[..., :3] = 0
    hidden = torch.zeros(2, 120, dtype=torch.bool)
    hidden[0] = True
    out = model(window, labels=window, hidden=hidden)
    assert torch.isfinite(out.loss)
    assert torch.isfinite(out.reconstruction).all()


# --- shapes, files, refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(NAMES, KINDS)
def test_every_variant_gives_tokens_and_a_window_and_learns_in_all_its_parts(
    values, block, patch_size, share_layers, mask_token
):
    model = build(**dict(zip(NAMES, (block, patch_size, share_layers, mask_token), strict=True)), fine_channels=True)
    count = 120 // patch_size
    hidden = torch.zeros(3, 120, dtype=torch.bool)
    hidden[:, 20:40] = True
    covered = values[:3].masked_fill(hidden[..., None], 0)
    out = model(covered, hidden, values[:3], hidden)
    assert out.last_hidden_state.shape == (3, count, 16)
    assert out.reconstruction.shape == (3, 120, 6)
    maps = model.limu_bert(covered, hidden, output_attentions=True)
    assert [tuple(layer.shape) for layer in maps.attentions] == [(3, 4, count, count)] * 2
    torch.testing.assert_close(maps.attentions[1].sum(-1), torch.ones(3, 4, count))
    torch.testing.assert_close(maps.last_hidden_state, out.last_hidden_state, atol=1e-5, rtol=1e-4)
    out.loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert [name for name in idle if not name.endswith("key.bias")] == []  # softmax does not see the key's bias
    assert len(model.limu_bert.blocks) == (1 if share_layers else 2)


@pytest.mark.parametrize(NAMES, KINDS)
def test_every_variant_comes_back_from_its_files_with_the_same_bits(
    values, tmp_path, block, patch_size, share_layers, mask_token
):
    changes = {"block": block, "patch_size": patch_size, "share_layers": share_layers, "mask_token": mask_token}
    changes |= {"standardise": True, "fine_channels": True, "gravity_aligned": share_layers}
    model = build(**changes)
    model.limu_bert.input.fit(values)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in changes} == changes
    torch.manual_seed(99)  # whatever is drawn anew would differ
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert type(loaded) is encoder.LimuBertForPreTraining
    assert set(loaded.state_dict()) == set(model.state_dict())
    same(loaded, model)
    same(AutoModel.from_pretrained(tmp_path), model.limu_bert)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    same(classifier.limu_bert, model.limu_bert)
    assert "limu_bert.input.mean" in model.state_dict()
    assert torch.isfinite(classifier(values[:2]).logits).all()
    assert torch.equal(loaded(values[:2]).reconstruction, model(values[:2]).reconstruction)


def same(one, other):
    for name, value in other.state_dict().items():
        assert torch.equal(value, one.state_dict()[name]), name


def test_a_new_pre_norm_network_starts_with_small_positions_under_every_head():
    for cls in (encoder.LimuBertForPreTraining, encoder.LimuBertForSequenceClassification):
        assert build(cls, **FULL).limu_bert.embeddings.position_embeddings.weight.std() < 0.03
        published = build(cls).limu_bert.blocks[0].attention.query.weight.diagonal()
        assert 1.9 < published.mean() < 2.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 7}, "patch_size=7 does not divide the 120 steps"),
        ({"patch_size": 0}, "patch_size=0 does not divide"),
        ({"patch_size": -4}, "patch_size=-4 does not divide"),
        ({"patch_size": 4, "max_position_embeddings": 50}, "patch_size=4 does not divide the 50 steps"),
        ({"block": "post_norm"}, "block='post_norm' is none of published, residual, pre_norm"),
        ({"classifier": "mlp"}, "classifier='mlp' is none of linear, gru"),
    ],
)
def test_a_config_that_fits_no_network_is_refused(change, message):
    with pytest.raises(ModelError, match=message):
        encoder.LimuBertConfig(**change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch_size", 4),
        ("block", "residual"),
        ("block", "pre_norm"),
        ("share_layers", False),
        ("standardise", True),
        ("fine_channels", True),
        ("gravity_aligned", True),
        ("mask_token", True),
    ],
)
def test_the_authors_checkpoints_cannot_hold_a_variant(tmp_path, field, value):
    config = encoder.LimuBertConfig(**{field: value})
    with pytest.raises(ModelError, match=f"{field}={value!r}: the authors' checkpoints"):
        encoder.LimuBertForPreTraining(config).to_published(tmp_path / "x.pt")
    encoder.LimuBertForPreTraining(encoder.LimuBertConfig()).to_published(tmp_path / "y.pt")
    with pytest.raises(ModelError, match=f"{field}={value!r}: the authors' checkpoints"):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "y.pt", config)
    assert not (tmp_path / "x.pt").exists()


# --- half precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("aligned", [True, False])
def test_half_precision_stays_finite_and_near(full, values, dtype, aligned):
    model = build(**FULL | {"gravity_aligned": aligned})
    model.limu_bert.input.fit(values)
    half = build(**FULL | {"gravity_aligned": aligned})
    half.load_state_dict(model.state_dict())
    half.to(dtype)
    fall = values[:4] * 8  # a blow of 16 g, at the end of a phone's range
    for window in (torch.zeros(2, 120, 6), torch.ones(2, 120, 6), values[:16], fall):
        for read in (window, window.to(dtype)):  # asinh(x / 0.001) must not overflow either
            hidden = encoder.mask_spans(len(window), 30, 0.4, 3).repeat_interleave(4, dim=1)
            out = half(read, hidden, read, hidden)
            assert out.reconstruction.dtype == dtype
            assert torch.isfinite(out.reconstruction).all()
            assert torch.isfinite(out.loss)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_half_precision_does_not_round_the_fine_channels_away(full, imu, activities, dtype, limit):
    """bfloat16 has steps of 0.008 near 1 g: a window rounded before would hold no sway of somebody who stands."""
    still = imu[activities == "standing"]
    half = build(**FULL)
    half.load_state_dict(full.state_dict())
    exact, rough = encoder.embed(full, still), encoder.embed(half.to(dtype), still)
    assert np.abs(exact - rough).mean() / exact.std() < limit


@pytest.mark.parametrize("level", [0.0, 1.0, -30.0])
def test_constant_windows_have_a_finite_loss_and_gradient(level):
    window = torch.full((4, 120, 6), level)
    model = build(**FULL)
    model.limu_bert.input.fit(window)
    hidden = encoder.mask_spans(4, 30, 0.4, 3).repeat_interleave(4, dim=1)
    loss = model(window, hidden, window, hidden).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# --- masks ----------------------------------------------------------------------------------------


def masking(patch_size=4, **settings):
    """The masks of a smoke run, for tokens of some steps."""
    model = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(patch_size=patch_size))
    return encoder.MaskedPretraining(model, SMOKE.model_copy(update=settings)).hide


@pytest.mark.parametrize("patch_size", [1, 4, 8])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_whole_tokens_are_hidden_and_the_share_is_exact(values, patch_size, probability):
    batch = masking(patch_size, mask_zero_probability=probability)(values[:64])
    tokens = 120 // patch_size
    mask = batch["mask"].view(64, tokens, patch_size)
    assert torch.equal(mask.any(2), mask.all(2))
    assert (mask.all(2).sum(1) == round(0.4 * tokens)).all()
    assert torch.equal(batch["labels"], values[:64])
    assert (batch["imu_values"][batch["hidden"]] == 0).all()
    assert torch.equal(batch["imu_values"][~batch["hidden"]], values[:64][~batch["hidden"]])
    either = (batch["hidden"] == batch["mask"]).all(1) | ~batch["hidden"].any(1)
    assert either.all()
    share = batch["hidden"].any(1).float().mean()
    assert share == probability or 0.2 < share < 0.8


def test_turned_windows_are_turned_in_the_labels_too(values):
    batch = masking(max_turn=15.0)(values[:32])
    labels, visible = batch["labels"], ~batch["hidden"]
    assert labels.dtype == torch.float32
    assert torch.equal(batch["imu_values"][visible], labels[visible])
    for part in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(labels[..., part].norm(dim=-1), values[:32, :, part].norm(dim=-1))
    before, after = (torch.nn.functional.normalize(one[..., :3].mean(1), dim=-1) for one in (values[:32], labels))
    angles = torch.rad2deg(torch.arccos((before * after).sum(-1).clamp(-1, 1)))
    assert angles.max() < 15.01
    assert angles.max() > 5
    assert len(np.unique(angles.numpy().round(4))) > 20, "every window its own turn"


def test_masks_and_turns_follow_torchs_generator_alone(values):
    hide = masking(max_turn=90.0, mask_zero_probability=0.5)
    torch.manual_seed(5)
    hide(values[:8])
    state = torch.get_rng_state()
    went_on = hide(values[:8])
    np.random.seed(123)  # noqa: NPY002
    random.seed(123)
    torch.set_rng_state(state)
    resumed = hide(values[:8])
    assert all(torch.equal(went_on[name], resumed[name]) for name in went_on)
    assert not torch.equal(hide(values[:8])["labels"], resumed["labels"])


# --- pretraining ----------------------------------------------------------------------------------

EIGHTY = SMOKE.model_copy(update={"epochs": 5, "batch_size": 4, "max_turn": 30.0, "mask_zero_probability": 0.8})


def pretrain(folder, windows, kill_at=None):
    """80 steps on 64 windows; the process kills itself before step ``kill_at``."""
    if kill_at is not None:
        forward, steps = encoder.LimuBertForPreTraining.forward, itertools.count()

        def until(*args, **kwargs):
            if next(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(*args, **kwargs)

        encoder.LimuBertForPreTraining.forward = until
    config = encoder.LimuBertConfig(**FULL | {"share_layers": False})
    return encoder.pretrain(np.load(windows), EIGHTY, folder, seed=7, config=config)


def test_a_killed_pretraining_goes_on_and_ends_with_the_same_weights(imu, tmp_path):
    np.save(tmp_path / "windows.npy", imu[:64])
    step = random.SystemRandom().randint(51, 79)
    code = "import sys, test_variants as t; t.pretrain(sys.argv[1], sys.argv[2], int(sys.argv[3]))"
    arguments = [str(tmp_path / "work"), str(tmp_path / "windows.npy"), str(step)]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=Path(__file__).parent, capture_output=True, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert [path.name for path in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-50"]
    whole, history = pretrain(tmp_path / "whole", tmp_path / "windows.npy")
    again, resumed = pretrain(tmp_path / "work", tmp_path / "windows.npy")
    assert set(again.state_dict()) == set(whole.state_dict())
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=1e-6, msg=f"{name}, killed at {step}")
    assert [row["step"] for row in resumed] == [row["step"] for row in history]
    assert history[-1]["loss"] < history[0]["loss"]


def test_pretraining_learns_the_scales_from_its_own_windows(imu, values, tmp_path):
    few = SMOKE.model_copy(update={"epochs": 1})
    model, _ = encoder.pretrain(imu[:32], few, tmp_path / "run", config=encoder.LimuBertConfig(**FULL))
    expected = reader(values[:32], **FULL)
    assert torch.equal(model.limu_bert.input.mean, expected.mean)
    assert torch.equal(model.limu_bert.input.std, expected.std)
    fresh = encoder.random_like(model, imu[32:], seed=3)
    assert type(fresh) is encoder.LimuBertModel
    assert torch.equal(fresh.input.mean, reader(values[32:], **FULL).mean)
    assert torch.equal(encoder.random_like(model, imu[32:], seed=3).blocks[0].fc1.weight, fresh.blocks[0].fc1.weight)
    assert not torch.equal(fresh.blocks[0].fc1.weight, model.limu_bert.blocks[0].fc1.weight)


def test_batches_that_are_accumulated_count_as_one(imu, tmp_path):
    """Averaged, not summed: else the learning rate and the limit of the gradient would mean something else."""
    losses = []
    for accumulate, batch_size in ((1, 32), (4, 8)):
        few = SMOKE.model_copy(update={"epochs": 5, "accumulate": accumulate, "batch_size": batch_size})
        config = encoder.LimuBertConfig(**FULL)
        _, history = encoder.pretrain(imu[:32], few, tmp_path / "run", seed=1, config=config)
        losses.append(history[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.2)


def test_the_shortest_run_has_a_history(imu, tmp_path):
    few = SMOKE.model_copy(update={"epochs": 0.5})
    _, history = encoder.pretrain(imu[:8], few, tmp_path / "run", config=encoder.LimuBertConfig(**FULL))
    assert [row["step"] for row in history] == [1]
    assert np.isfinite(history[0]["loss"])


# --- only what the loss needs ---------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    "network",
    [{}, {"block": "residual"}, profiles.load("cpu").encoder.network.model_dump()],
    ids=["published", "residual", "cpu"],
)
def test_the_loss_alone_is_the_loss_of_the_whole_reconstruction(values, network, ragged):
    torch.manual_seed(0)
    model = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(**network))
    model.limu_bert.input.fit(values)
    batch = encoder.MaskedPretraining(model, SMOKE.model_copy(update={"mask_zero_probability": 0.5})).hide(values[:16])
    if ragged:  # another count in every window, and parts of tokens
        batch["mask"] = batch["mask"] & (torch.rand(batch["mask"].shape) < 0.3)
        batch["mask"][0] = False
    gradients = {}
    for alone in (False, True):
        model.zero_grad()
        out = model(**batch, loss_only=alone)
        out.loss.backward()
        assert (out.reconstruction is None) == alone
        gradients[alone] = [out.loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)]
    for one, other in zip(gradients[False], gradients[True], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# --- torch.compile --------------------------------------------------------------------------------


def test_a_compiled_pretraining_ends_with_the_same_weights_and_can_be_saved(values, tmp_path):
    windows = encoder.denormalise(values[:64].numpy())  # whole batches: a smaller one would be compiled again
    config = encoder.LimuBertConfig(**SMALL)
    ends = {}
    for backend in (None, "aot_eager"):
        settings = SMOKE.model_copy(update={"compile": backend, "epochs": 2})
        trained, history = encoder.pretrain(windows, settings, tmp_path / "run", config=config)
        trained.save_pretrained(tmp_path / "saved")
        saved = encoder.LimuBertForPreTraining.from_pretrained(tmp_path / "saved")
        ends[backend] = {"loss": torch.tensor(history[-1]["loss"]), **saved.state_dict()}
    torch.testing.assert_close(ends["aot_eager"], ends[None], atol=1e-5, rtol=1e-4)
