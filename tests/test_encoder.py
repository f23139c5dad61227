"""LIMU-BERT: the published network, its checkpoints, span masking, pretraining, and windows to refuse."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import with_value
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining

from llasa_lib import encoder, signals
from llasa_lib.errors import ModelError

GOLDEN = Path(__file__).parent / "golden" / "limu_bert.npz"
QUICK = SimpleNamespace(
    epochs=1,
    batch_size=64,
    accumulate=1,
    learning_rate=1e-3,
    scheduler="constant",
    warmup_ratio=0.0,
    weight_decay=0.0,
    mask_ratio=0.15,
    max_span=10,
    span_decay=0.2,
    mask_zero_probability=0.8,
    max_turn=0.0,
    compile=None,
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


@pytest.fixture(scope="module")
def tensors(golden):
    return {name: value for name, value in golden.items() if name not in ("input",) and "out_" not in name}


@pytest.fixture
def published(tensors, tmp_path):
    """A checkpoint file as the authors' code writes it."""
    torch.save(tensors, tmp_path / "limu_bert.pt")
    return tmp_path / "limu_bert.pt"


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows).copy()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return encoder.LimuBertForPreTraining(encoder.LimuBertConfig()).eval()


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_published_weights_give_the_published_outputs(golden, published, attention):
    config = encoder.LimuBertConfig(attn_implementation=attention)
    model = encoder.LimuBertForPreTraining.from_published(published, config)
    with torch.no_grad():
        out = model(golden["input"])
    torch.testing.assert_close(out.last_hidden_state, golden["out_embedding"], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.reconstruction, golden["out_reconstruction"], atol=1e-5, rtol=0)


def test_asking_for_attention_maps_changes_no_output(golden, model):
    with torch.no_grad():
        plain, with_maps = (model.limu_bert(golden["input"], output_attentions=ask) for ask in (False, True))
    torch.testing.assert_close(plain.last_hidden_state, with_maps.last_hidden_state, atol=1e-4, rtol=0)
    assert plain.attentions is None
    assert [tuple(layer.shape) for layer in with_maps.attentions] == [(4, 4, 120, 120)] * 4
    torch.testing.assert_close(with_maps.attentions[0].sum(-1), torch.ones(4, 4, 120))


def test_all_four_layers_share_one_block(model):
    count = lambda module: sum(p.numel() for p in module.parameters())
    assert (count(model), count(model.limu_bert)) == (62_646, 51_552)
    deeper = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(num_hidden_layers=12))
    assert count(deeper) == 62_646


def spread_over_time(model, imu):
    """Share of the embedding's variance that lies inside windows: 0 if all steps of a window are alike."""
    hidden = encoder.embed(model, imu)
    return hidden.var(axis=1).mean() / hidden.reshape(-1, hidden.shape[-1]).var(axis=0).mean()


def test_a_new_network_keeps_the_steps_of_a_window_apart(imu):
    torch.manual_seed(0)
    fresh = encoder.LimuBertModel(encoder.LimuBertConfig())
    even = encoder.LimuBertModel(encoder.LimuBertConfig(attention_gain=0.0))
    assert spread_over_time(even, imu) < 0.001  # the published start: 120 copies of one vector
    assert spread_over_time(fresh, imu) > 0.1


def test_start_values_do_not_touch_loaded_weights(published, tensors, tmp_path):
    model = encoder.LimuBertForPreTraining.from_published(published)
    assert torch.equal(model.limu_bert.blocks[0].attention.query.weight, tensors["transformer.attn.proj_q.weight"])
    model.save_pretrained(tmp_path)
    again = encoder.LimuBertForPreTraining.from_pretrained(tmp_path)
    assert torch.equal(again.limu_bert.blocks[0].attention.query.weight, tensors["transformer.attn.proj_q.weight"])


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ModelError, match="72 is no multiple of the 5 heads"):
        encoder.LimuBertModel(encoder.LimuBertConfig(num_attention_heads=5))


def test_a_shorter_window_takes_the_first_positions(model):
    values = torch.randn(2, 40, 6)
    assert model(values).reconstruction.shape == (2, 40, 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("content", [torch.zeros, torch.ones, torch.randn])
def test_half_precision_never_gives_nan(dtype, content):
    torch.manual_seed(0)
    model = encoder.LimuBertForPreTraining(encoder.LimuBertConfig()).to(dtype)
    with torch.no_grad():
        model.limu_bert.embeddings.projection.bias.zero_()  # so that the first norm meets nothing but zeros
        out = model(content(2, 120, 6).to(dtype))
    assert out.reconstruction.dtype == dtype
    assert torch.isfinite(out.reconstruction).all()


def test_half_precision_stays_near_full_precision(imu, model):
    exact = encoder.embed(model, imu[:8])
    rough = encoder.embed(model.half(), imu[:8])
    assert rough.dtype == np.float32
    assert np.abs(exact - rough).mean() < 0.02


def test_saved_and_loaded_weights_are_the_same_bits(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert isinstance(loaded, encoder.LimuBertForPreTraining)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), encoder.LimuBertConfig)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_the_encoder_alone_loads_from_a_pretraining_checkpoint(model, tmp_path, golden):
    model.save_pretrained(tmp_path)
    alone = AutoModel.from_pretrained(tmp_path)
    assert isinstance(alone, encoder.LimuBertModel)
    assert torch.equal(alone(golden["input"]).last_hidden_state, model(golden["input"]).last_hidden_state)


# --- published checkpoints ------------------------------------------------------------------------


def test_a_published_checkpoint_survives_the_round_trip_bit_for_bit(published, tensors, tmp_path):
    encoder.LimuBertForPreTraining.from_published(published).to_published(tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(tensors)
    assert len(again) == 29
    for name, value in tensors.items():
        assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("name", ["transformer.embed.lin.weight", "fc.bias", "norm.gamma"])
def test_a_missing_tensor_is_named(tensors, tmp_path, name):
    torch.save({key: value for key, value in tensors.items() if key != name}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=f"x.pt: tensor '{name}' is missing"):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.weight": torch.zeros(3, 72)}, r"'decoder.weight' has shape \(3, 72\), but \(6, 72\)"),
        ({"norm.beta": torch.full((72,), float("nan"))}, "'norm.beta' holds NaN"),
        ({"fc.bias": [0.0] * 72}, "'fc.bias' is a list"),
        ({"classifier.weight": torch.zeros(6, 72)}, "unknown tensor 'classifier.weight'"),
    ],
)
def test_a_wrong_tensor_is_named(tensors, tmp_path, change, message):
    torch.save(tensors | change, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=message):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "x.pt")


def test_what_is_no_checkpoint_is_refused(tmp_path, published):
    truncated = published.read_bytes()[:5000]
    for content, message in [(b"not a checkpoint", "plain tensors"), (truncated, "plain tensors")]:
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(ModelError, match=message):
            encoder.LimuBertForPreTraining.from_published(tmp_path / "bad.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ModelError, match="holds a Tensor"):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "tensor.pt")
    with pytest.raises(ModelError, match="no such file"):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "absent.pt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"fc.bias": Attack()}, tmp_path / "attack.pt")
    with pytest.raises(ModelError, match="plain tensors"):
        encoder.LimuBertForPreTraining.from_published(tmp_path / "attack.pt")
    assert not (tmp_path / "owned").exists()


# --- masking --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 40),
    length=st.integers(8, 150),
    ratio=st.floats(0.1, 0.9),
    max_span=st.integers(1, 20),
    skip_last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_mask_hides_exactly_its_share(batch, length, ratio, max_span, skip_last, seed):
    if round(ratio * length) > length - skip_last:
        return
    generator = torch.Generator().manual_seed(seed)
    mask = encoder.mask_spans(batch, length, ratio, max_span, skip_last=skip_last, generator=generator)
    assert mask.shape == (batch, length)
    assert (mask.sum(1) == round(ratio * length)).all()
    assert not (skip_last and mask[:, -1].any())


def one_window_at_a_time(count, skip_last, seed):
    """The published way, in plain Python: the reference for the distribution."""
    draw = np.random.default_rng(seed)
    chances = 0.2 * 0.8 ** np.arange(10)
    masks = np.zeros((count, 120), dtype=bool)
    for mask in masks:
        while mask.sum() < 18:
            span = min(draw.choice(10, p=chances / chances.sum()) + 1, 18 - mask.sum())
            anchor = draw.integers(120)
            if not mask[anchor]:
                mask[anchor : min(anchor + span, 120 - skip_last)] = True
    return masks


def runs(masks):
    """Lengths of the uninterrupted hidden runs, as shares of all runs, 1 to 18."""
    edges = np.diff(np.pad(masks.astype(int), ((0, 0), (1, 1))), axis=1)
    lengths = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]
    return np.bincount(lengths, minlength=19)[1:19] / len(lengths)


@pytest.mark.parametrize("skip_last", [False, True])
def test_masks_are_distributed_as_if_drawn_one_by_one(skip_last):
    ours = encoder.mask_spans(6000, skip_last=skip_last, generator=torch.Generator().manual_seed(1)).numpy()
    reference = one_window_at_a_time(6000, skip_last, seed=2)
    # Standard errors: a run's share 0.003, a step's rate 0.005. Six of them for 120 steps tested at once.
    assert np.abs(runs(ours) - runs(reference)).max() < 0.015
    assert np.abs(ours.mean(0) - reference.mean(0)).max() < 0.035
    assert ours.mean(0)[119] == 0 if skip_last else ours.mean(0)[119] > 0.12


def test_masks_repeat_with_their_seed():
    draw = lambda seed: encoder.mask_spans(16, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(draw(7), draw(7))
    assert not torch.equal(draw(7), draw(8))


@pytest.mark.parametrize("ratio", [0.0, 1.2])
def test_an_impossible_mask_is_refused(ratio):
    with pytest.raises(ModelError, match="Cannot hide"):
        encoder.mask_spans(2, ratio=ratio)


def test_four_windows_in_five_have_their_masked_steps_zeroed():
    values, mask = torch.ones(5000, 120, 6), encoder.mask_spans(5000)
    hidden = encoder.hide(values, mask, 0.8, generator=torch.Generator().manual_seed(0))
    zeroed = (hidden[mask].view(5000, 18, 6) == 0).all(dim=(1, 2))
    untouched = (hidden == 1).all(dim=(1, 2))
    assert (zeroed ^ untouched).all()
    assert zeroed.float().mean() == pytest.approx(0.8, abs=0.03)
    assert (hidden[~mask] == 1).all()
    assert (values == 1).all()


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_zeroing_can_be_switched_off_and_made_certain(probability, expected):
    values, mask = torch.ones(50, 120, 6), encoder.mask_spans(50)
    assert (encoder.hide(values, mask, probability)[mask] == expected).all()


# --- loss and training ----------------------------------------------------------------------------


def test_the_loss_reads_masked_steps_only(model):
    values, mask = torch.randn(8, 120, 6), encoder.mask_spans(8)
    loss = model(values, mask, values).loss
    elsewhere = values + 100 * ~mask[..., None]
    there = values + 100 * mask[..., None]
    assert model(values, mask, elsewhere).loss == loss
    assert model(values, mask, there).loss > 1000
    out = model(values)
    assert out.loss is None
    by_hand = ((out.reconstruction - values) ** 2)[mask].mean()
    torch.testing.assert_close(loss, by_hand)


def test_a_loss_without_mask_counts_every_step(model):
    values = torch.randn(4, 120, 6)
    out = model(values, labels=values)
    torch.testing.assert_close(out.loss, ((out.reconstruction - values) ** 2).mean())


def test_pretraining_lowers_the_loss_and_repeats_with_its_seed(imu, tmp_path):
    few = SimpleNamespace(**vars(QUICK) | {"epochs": 12, "batch_size": 16})
    first, history = encoder.pretrain(imu[:32], few, tmp_path / "a", seed=3)
    second, _ = encoder.pretrain(imu[:32], few, tmp_path / "b", seed=3)
    other, _ = encoder.pretrain(imu[:32], few, tmp_path / "c", seed=4)
    same = lambda x, y: all(torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
    assert same(first, second)
    assert not same(first, other)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert not first.training


def test_pretraining_takes_a_dataset_and_reads_no_label(hapt_windows, tmp_path):
    unlabelled = hapt_windows.select(range(32)).remove_columns(["activity", "subject"])
    model, _ = encoder.pretrain(unlabelled, QUICK, tmp_path / "run")
    assert encoder.embed(model, signals.to_array(unlabelled)).shape == (32, 120, 72)


# --- windows in, embeddings out -------------------------------------------------------------------


def test_normalising_divides_acceleration_by_gravity_and_leaves_rotation(imu):
    values = encoder.normalise(imu)
    np.testing.assert_allclose(values[..., :3], imu[..., :3] / 9.8, rtol=1e-6)
    np.testing.assert_array_equal(values[..., 3:], imu[..., 3:])
    np.testing.assert_allclose(encoder.denormalise(values), imu, atol=1e-5)
    tensor = torch.from_numpy(imu)
    torch.testing.assert_close(encoder.normalise(tensor), torch.from_numpy(values))
    torch.testing.assert_close(encoder.denormalise(encoder.normalise(tensor)), tensor)


def test_a_person_at_rest_weighs_one_after_normalising(hapt_windows):
    still = hapt_windows.filter(lambda row: row["activity"] in ("sitting", "standing", "lying"))
    magnitude = np.linalg.norm(encoder.normalise(signals.to_array(still))[..., :3], axis=-1)
    assert magnitude.mean() == pytest.approx(1.0, abs=0.05)


def test_embedding_real_windows_does_not_depend_on_the_batch(imu, model):
    whole = encoder.embed(model.train(), imu[:40])
    assert model.training
    assert whole.dtype == np.float32
    assert whole.shape == (40, 120, 72)
    np.testing.assert_allclose(whole, encoder.embed(model.limu_bert, torch.from_numpy(imu[:40]), 7), atol=1e-5)
    pooled = encoder.embed(model, imu[:40], batch_size=7, reduce=encoder.pool)
    np.testing.assert_allclose(pooled, encoder.pool(whole), atol=1e-5)
    np.testing.assert_allclose(pooled[:, :72], whole.mean(1), atol=1e-5)
    np.testing.assert_allclose(pooled[:, 72:], whole.std(1), atol=1e-5)


def test_every_real_window_passes_the_check(imu):
    np.testing.assert_array_equal(signals.check_windows(imu), imu)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda imu: imu[:, :100], r"shape \(4, 100, 6\)"),
        (lambda imu: imu[..., :3], r"shape \(4, 120, 3\)"),
        (lambda imu: imu[0], r"shape \(120, 6\)"),
        (lambda imu: imu.transpose(0, 2, 1), r"shape \(4, 6, 120\)"),
        (with_value(np.nan), "Window 2, step 7, channel 4 is nan"),
        (with_value(-np.inf), "Window 2, step 7, channel 4 is -inf"),
        (encoder.normalise, "multiply by 9.80665"),
        (lambda imu: imu * 100, "mean acceleration"),
        (lambda imu: imu * 0, "gravity was removed"),
    ],
)
def test_windows_the_encoder_would_misread_are_refused(imu, model, tmp_path, change, message):
    bad = change(imu[:4])
    with pytest.raises(ModelError, match=message):
        encoder.embed(model, bad)
    with pytest.raises(ModelError, match=message):
        encoder.pretrain(bad, QUICK, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rotation_in_degrees_is_refused(hapt_windows, model):
    walks = signals.to_array(hapt_windows.filter(lambda row: row["activity"] == "walking"))[:4].copy()
    walks[..., 3:] *= 180 / np.pi
    with pytest.raises(ModelError, match="multiply by pi / 180"):
        encoder.embed(model, walks)
    assert signals.check_windows(walks, units=False).shape == walks.shape


def test_a_linear_probe_reads_what_embeddings_hold(hapt_windows, imu, model):
    activities, subjects = np.array(hapt_windows["activity"]), np.array(hapt_windows["subject"])
    train = subjects != "hapt-02"
    embeddings = encoder.embed(model, imu)
    probe = encoder.linear_probe(embeddings[train], activities[train])
    pooled = encoder.linear_probe(encoder.pool(embeddings[train]), activities[train])
    np.testing.assert_array_equal(probe.predict(embeddings[~train]), pooled.predict(encoder.pool(embeddings[~train])))
    shuffled = np.random.default_rng(0).permutation(activities[train])
    chance = encoder.linear_probe(embeddings[train], shuffled)
    assert probe.score(embeddings[~train], activities[~train]) > 0.5
    assert chance.score(embeddings[~train], activities[~train]) < 0.4
