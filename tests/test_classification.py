"""Classifiers on the encoder: what fine-tuning changes and what it leaves, and what is refused on the way in."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from llasa_lib import encoder, profiles, signals
from llasa_lib.errors import ModelError

NAMES = ["lying", "standing", "walking"]
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "patch_size": 4, "block": "pre_norm"}
VARIANT = SMALL | {"standardise": True, "fine_channels": True, "mask_token": True}
SETTINGS = profiles.Training(epochs=1, batch_size=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows).copy()


@pytest.fixture(scope="module")
def three(hapt_windows, imu):
    """36 windows of three activities, and their class numbers."""
    activities = np.array(hapt_windows["activity"])
    rows = np.concatenate([np.flatnonzero(activities == name)[:12] for name in NAMES])
    rows = np.random.default_rng(0).permutation(rows)
    return imu[rows], np.searchsorted(NAMES, activities[rows])


@pytest.fixture
def pretrained(imu):
    return build(imu)


def build(imu, **changes):
    torch.manual_seed(0)
    model = encoder.LimuBertForPreTraining(encoder.LimuBertConfig(**VARIANT | changes)).eval()
    model.limu_bert.input.fit(torch.from_numpy(encoder.normalise(imu)))
    torch.nn.init.normal_(model.limu_bert.embeddings.mask_token)
    return model


def epochs(count, **changes):
    return SETTINGS.model_copy(update={"epochs": count} | changes)


def digest(module):
    state = module.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def tune(model, data, settings, folder, **options):
    return encoder.fine_tune(model, *data, settings, folder, description="", **options)


# --- a head on the encoder ------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "gru"])
def test_a_classifier_starts_from_the_encoder_and_leaves_the_original_alone(pretrained, three, tmp_path, head):
    before = digest(pretrained)
    classifier = encoder.with_head(pretrained, NAMES, head)
    assert digest(classifier.limu_bert) == digest(pretrained.limu_bert)
    assert (classifier.config.classifier, classifier.config.num_labels) == (head, 3)
    assert pretrained.config.num_labels == 2
    tune(classifier, three, epochs(2), tmp_path / "run")
    assert digest(classifier.limu_bert) != digest(pretrained.limu_bert)
    assert digest(pretrained) == before
    alone = encoder.with_head(pretrained.limu_bert, NAMES, head)
    assert digest(alone.limu_bert) == digest(pretrained.limu_bert)


@pytest.mark.parametrize("head", ["linear", "gru"])
def test_a_saved_classifier_comes_back_with_names_and_the_same_bits(pretrained, three, tmp_path, head):
    classifier = encoder.with_head(pretrained, NAMES, head)
    tune(classifier, three, epochs(1), tmp_path / "run")
    classifier.save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    assert type(again) is encoder.LimuBertForSequenceClassification
    assert again.config.id2label == dict(enumerate(NAMES))
    assert again.config.label2id == {name: number for number, name in enumerate(NAMES)}
    assert digest(again) == digest(classifier)
    values = torch.from_numpy(encoder.normalise(three[0]))
    assert torch.equal(again(values).logits, classifier(values).logits)


def test_a_pretraining_checkpoint_gives_a_classifier_with_a_new_head(pretrained, tmp_path):
    pretrained.save_pretrained(tmp_path)
    torch.manual_seed(1)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=6)
    assert digest(classifier.limu_bert) == digest(pretrained.limu_bert)
    assert classifier.classifier.out.weight.shape == (6, 32)
    assert 0 < classifier.classifier.out.weight.abs().max() < 1
    assert torch.equal(classifier.classifier.scale.running_mean, torch.zeros(32))
    assert torch.equal(classifier.classifier.scale.running_var, torch.ones(32))


def test_what_cannot_be_a_head_is_named(pretrained, imu, tmp_path):
    with pytest.raises(ModelError, match="classifier='mlp' is none of linear, gru"):
        encoder.with_head(pretrained, NAMES, "mlp")
    coarse = encoder.with_head(build(imu, patch_size=24), NAMES, "gru")
    with pytest.raises(ModelError, match="6 pieces of a window, but 5 tokens"):
        encoder.classify(coarse, imu[:3])
    assert encoder.classify(encoder.with_head(build(imu, patch_size=24), NAMES), imu[:3]).shape == (3,)


def test_the_linear_head_reads_what_the_linear_probe_reads(pretrained, three):
    """Mean and spread over time, each brought to mean 0 and spread 1 over the windows of a batch."""
    head = encoder.with_head(pretrained, NAMES).classifier.train()
    states = pretrained.limu_bert(torch.from_numpy(encoder.normalise(three[0]))).last_hidden_state
    pooled = torch.from_numpy(encoder.pool(states.detach().numpy()))
    torch.testing.assert_close(encoder.pool(states), pooled, atol=1e-5, rtol=1e-4)
    scaled = (pooled - pooled.mean(0)) / (pooled.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(states), head.out(scaled), atol=1e-4, rtol=1e-3)


def test_a_classifier_keeps_all_settings_of_its_encoder(imu):
    pretrained = build(imu, attn_implementation="eager")
    config = encoder.with_head(pretrained, NAMES, "gru").config
    assert config._attn_implementation == "eager"
    assert config.id2label == dict(enumerate(NAMES))
    new = {"classifier", "id2label", "label2id"}
    same = lambda settings: {name: value for name, value in settings.to_dict().items() if name not in new}
    assert same(config) == same(pretrained.config)
    assert pretrained.config.classifier == "linear"


def test_the_gru_head_reads_every_second_alone():
    """Another order of the six seconds is the same window to it; another order inside a second is not."""
    torch.manual_seed(0)
    model = encoder.RawGru(3).eval()
    values = torch.randn(4, 120, 6)
    seconds = values.unflatten(1, (6, 20))
    torch.testing.assert_close(model(seconds.flip(1).flatten(1, 2)).logits, model(values).logits)
    assert not torch.allclose(model(seconds.flip(2).flatten(1, 2)).logits, model(values).logits, atol=1e-3)


# --- fine-tuning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "gru"])
def test_a_frozen_encoder_does_not_move(pretrained, three, tmp_path, head):
    classifier = encoder.with_head(pretrained, NAMES, head)
    before = digest(classifier.limu_bert), digest(classifier.classifier)
    tune(classifier, three, epochs(2), tmp_path / "run", encoder_learning_rate=0)
    assert digest(classifier.limu_bert) == before[0]
    assert digest(classifier.classifier) != before[1]
    # First the head, then both: what was frozen for a while is trained again as soon as it is given a rate.
    tune(classifier, three, epochs(1), tmp_path / "run", encoder_learning_rate=1e-3)
    assert digest(classifier.limu_bert) != before[0]


def test_the_encoder_takes_its_own_learning_rate(pretrained, three, tmp_path):
    moved = []
    for rate in (1e-6, None):
        classifier = encoder.with_head(pretrained, NAMES)
        tune(classifier, three, epochs(2), tmp_path / "run", encoder_learning_rate=rate)
        pairs = zip(classifier.limu_bert.parameters(), pretrained.limu_bert.parameters(), strict=True)
        moved.append(max(float((a - b).detach().abs().max()) for a, b in pairs))
    assert moved[0] < 1e-5 < 1e-3 < moved[1]


def test_a_classifier_learns_one_batch_by_heart(pretrained, three, tmp_path):
    windows, labels = three[0][:12], np.random.default_rng(3).integers(0, 3, 12)  # nothing that could be understood
    classifier = encoder.with_head(pretrained, NAMES)
    history = tune(classifier, (windows, labels), epochs(60), tmp_path / "run")
    assert history[-1]["loss"] < 0.1
    assert not classifier.training
    np.testing.assert_array_equal(encoder.classify(classifier, windows), labels)
    assert not (tmp_path / "run").exists()


def test_a_network_without_encoder_learns_one_batch(three, tmp_path):
    torch.manual_seed(0)
    model = encoder.RawGru(3)
    tune(model, three, epochs(50, batch_size=36, learning_rate=0.03), tmp_path / "run")
    assert np.mean(encoder.classify(model, three[0]) == three[1]) > 0.9


@pytest.mark.parametrize("count", [1, 17, 33])
def test_a_last_batch_of_one_window_ends_no_training(pretrained, three, tmp_path, count):
    classifier = encoder.with_head(pretrained, NAMES)
    history = tune(classifier, (three[0][:count], three[1][:count]), epochs(6), tmp_path / "run")
    assert np.isfinite([row["loss"] for row in history]).all()
    values = torch.from_numpy(encoder.normalise(three[0]))
    assert torch.isfinite(classifier(values).logits).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, list])
def test_class_numbers_may_be_of_any_integer_type(pretrained, three, tmp_path, kind):
    labels = three[1][:4].tolist() if kind is list else three[1][:4].astype(kind)
    tune(encoder.with_head(pretrained, NAMES), (three[0][:4], labels), epochs(1), tmp_path / "run")


def test_the_same_seed_gives_the_same_classifier(pretrained, three, tmp_path):
    start = encoder.with_head(pretrained, NAMES)
    made = [copy.deepcopy(start) for _ in range(3)]
    for model, seed in zip(made, (1, 1, 2), strict=True):
        tune(model, three, epochs(1), tmp_path / "run", seed=seed)
    assert digest(made[0]) == digest(made[1]) != digest(made[2])


def test_an_interrupted_fine_tuning_ends_with_the_same_classifier(pretrained, three, tmp_path, monkeypatch):
    """Also in what is no parameter: the size that the linear head brings its input to."""
    start = encoder.with_head(pretrained, NAMES)
    whole, again = copy.deepcopy(start), copy.deepcopy(start)
    settings = epochs(18, scheduler="constant")  # 54 steps, the last batch of each pass of 4 windows
    tune(whole, three, settings, tmp_path / "whole")

    forward, steps = encoder.LimuBertForSequenceClassification.forward, iter(range(53))
    with monkeypatch.context() as patch:
        counted = lambda *args, **kwargs: (next(steps), forward(*args, **kwargs))[1]
        patch.setattr(encoder.LimuBertForSequenceClassification, "forward", counted)
        with pytest.raises(StopIteration):
            tune(copy.deepcopy(start), three, settings, tmp_path / "work")
    assert (tmp_path / "work" / "checkpoint-50").is_dir()
    tune(again, three, settings, tmp_path / "work")
    for name, value in whole.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(again.state_dict()[name], value, atol=1e-6, rtol=0, msg=name)


# --- reading windows ------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "gru", None])
def test_a_window_is_named_the_same_in_any_company(pretrained, three, tmp_path, head):
    model = encoder.with_head(pretrained, NAMES, head) if head else encoder.RawGru(3)
    tune(model, three, epochs(2), tmp_path / "run")
    whole = encoder.classify(model.train(), three[0])
    assert whole.shape == (36,)
    assert np.issubdtype(whole.dtype, np.integer)
    for batch_size in (1, 7, 36):
        np.testing.assert_array_equal(encoder.classify(model, three[0], batch_size), whole)
    np.testing.assert_array_equal(encoder.classify(model, three[0][::-1]), whole[::-1])


@pytest.mark.parametrize("network", ["encoder", "raw"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda imu: imu[:, :60], r"shape \(3, 60, 6\)"),
        (lambda imu: imu[..., :3], r"shape \(3, 120, 3\)"),
        (lambda imu: imu[0], r"shape \(120, 6\)"),
        (lambda imu: np.where(np.arange(6) == 4, np.nan, imu), "Window 0, step 0, channel 4 is nan"),
        (lambda imu: imu / 9.8, "multiply by 9.80665"),
        (lambda imu: imu * [1, 1, 1, 1e3, 1e3, 1e3], "multiply by pi / 180"),
    ],
)
def test_windows_that_would_be_misread_are_refused(pretrained, three, tmp_path, network, change, message):
    model = encoder.with_head(pretrained, NAMES) if network == "encoder" else encoder.RawGru(3)
    bad = change(three[0][:3])
    with pytest.raises(ModelError, match=message):
        encoder.classify(model, bad)
    with pytest.raises(ModelError, match=message):
        tune(model, (bad, three[1][:3]), epochs(1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classifiers_read_windows_of_their_encoders_length(imu, three, tmp_path):
    short = np.ascontiguousarray(three[0][:, :60])
    for model in (
        encoder.with_head(build(short, max_position_embeddings=60, patch_size=2), NAMES, "gru"),
        encoder.RawGru(3, length=60),
    ):
        tune(model, (short, three[1]), epochs(1), tmp_path / "run")
        assert encoder.classify(model, short).shape == (36,)
        with pytest.raises(ModelError, match=r"reads \(windows, 60 steps"):
            encoder.classify(model, three[0])


def test_a_classifier_in_half_precision_names_most_windows_alike(pretrained, three, tmp_path):
    classifier = encoder.with_head(pretrained, NAMES)
    tune(classifier, three, epochs(4), tmp_path / "run")
    exact = encoder.classify(classifier, three[0])
    assert np.mean(encoder.classify(classifier.half(), three[0]) == exact) > 0.9
