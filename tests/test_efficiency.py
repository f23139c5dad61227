"""What labels are worth: the draw of the labels, the table of methods, and a run that is interrupted in the middle."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import ensemble, metrics

from llasa_lib import encoder, profiles, signals
from llasa_lib.encoder import efficiency
from llasa_lib.errors import ProfileError
from llasa_lib.pipeline import Pipeline
from llasa_lib.signals import shards

SETTINGS = profiles.load("smoke").ablate.model_copy(update={"shares": [0.2, 1.0], "draws": 2, "steps": 2})
METHODS = {
    "random forest, plain features",
    "logistic regression, plain features",
    "linear probe",
    "nearest neighbours",
    "linear probe, random encoder",
    "GRU head on the frozen encoder",
    "fine-tuned",
    "GRU on raw windows",
}


# --- the draw -------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["lying", "sitting", "walking"]), min_size=1, max_size=200),
    st.floats(0.001, 1.0),
    st.integers(0, 2**31),
)
def test_every_activity_gives_its_share_and_at_least_one_window(activities, share, seed):
    rows = encoder.draw_labels(activities, share, seed)
    names = np.asarray(activities)
    assert (np.diff(rows) > 0).all()
    assert set(rows.tolist()) <= set(range(len(names)))
    for name in np.unique(names):
        assert (names[rows] == name).sum() == max(1, round(share * (names == name).sum()))
    np.testing.assert_array_equal(rows, encoder.draw_labels(names, share, seed))


def test_all_labels_are_all_and_another_seed_draws_others():
    names = np.repeat(["lying", "sitting", "walking"], 100)
    np.testing.assert_array_equal(encoder.draw_labels(names, 1.0, 5), np.arange(300))
    few = [set(encoder.draw_labels(names, 0.05, seed).tolist()) for seed in range(5)]
    assert len({frozenset(rows) for rows in few}) == 5


# --- the table ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(hapt_windows):
    """A small untrained network, 40 windows of two people and 20 of a third."""
    imu, names = signals.to_array(hapt_windows), np.array(hapt_windows["activity"])
    subjects = np.array(hapt_windows["subject"])
    rng = np.random.default_rng(0)

    def some(rows, count):
        rows = np.sort(rng.permutation(np.flatnonzero(rows))[:count])
        return imu[rows], names[rows]

    train, test = some(subjects != "hapt-02", 40), some(subjects == "hapt-02", 20)
    assert set(test[1]) <= set(train[1])
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "patch_size": 4, "block": "pre_norm"}
    config = encoder.LimuBertConfig(**small, standardise=True, fine_channels=True, mask_token=True)
    model = encoder.LimuBertForPreTraining(config).eval()
    model.limu_bert.input.fit(torch.from_numpy(encoder.normalise(train[0])))
    return model, train, test


@pytest.fixture(autouse=True)
def small_forest(monkeypatch):
    forest = ensemble.RandomForestClassifier
    few = lambda n_estimators, random_state: forest(n_estimators=10, random_state=random_state)
    monkeypatch.setattr(ensemble, "RandomForestClassifier", few)


@pytest.fixture(scope="module")
def table(toy, tmp_path_factory):
    """The rows of an uninterrupted run, and the folder that was given to it."""
    folder = tmp_path_factory.mktemp("efficiency")
    with pytest.MonkeyPatch.context() as patch:
        forest = ensemble.RandomForestClassifier
        few = lambda n_estimators, random_state: forest(n_estimators=10, random_state=random_state)
        patch.setattr(ensemble, "RandomForestClassifier", few)
        return encoder.label_efficiency(*toy, SETTINGS, folder, seed=3), folder


def journal(folder):
    """The file of a folder that one run wrote its rows to."""
    (found,) = folder.glob("*/rows.jsonl")
    return found


def key(row):
    return row["method"], row["share"], row["draw"]


def test_every_method_meets_every_share_and_draw_once(table, toy):
    rows, folder = table
    assert {row["method"] for row in rows} == METHODS
    assert len(rows) == len({key(row) for row in rows}) == len(METHODS) * 3
    assert {(row["share"], row["draw"]) for row in rows} == {(0.2, 0), (0.2, 1), (1.0, 0)}, "all are all"
    train = toy[1][1]
    assert {row["labels"] for row in rows if row["share"] == 1.0} == {40}
    assert {row["labels"] for row in rows if row["share"] == 0.2} == {len(encoder.draw_labels(train, 0.2, 0))}
    assert all(0 <= row["macro_f1"] <= 1 for row in rows)
    assert all(type(row["macro_f1"]) is float for row in rows)
    # What needs no training to speak of is well above one in six.
    assert all(row["macro_f1"] > 0.3 for row in rows if row["share"] == 1.0 and "plain" in row["method"])
    assert [json.loads(line) for line in journal(folder).read_text().splitlines()] == rows
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["rows.jsonl"], "no checkpoint is left behind"


def test_the_pretrained_network_is_left_as_it_is(table, toy):
    torch.manual_seed(0)
    again = encoder.LimuBertForPreTraining(toy[0].config)
    for name, value in toy[0].named_parameters():
        assert torch.equal(value, dict(again.named_parameters())[name]), name
        assert value.requires_grad or name.startswith("fc."), name


def test_readers_get_the_rows_that_were_drawn_and_nothing_of_the_test_labels(toy, tmp_path, monkeypatch):
    """With the test labels replaced, every prediction is the same: only the score may change."""
    one = SETTINGS.model_copy(update={"shares": [0.2], "draws": 1})
    seen = []
    score = metrics.f1_score
    monkeypatch.setattr(
        metrics, "f1_score", lambda truth, found, **how: seen.append(found.tolist()) or score(truth, found, **how)
    )
    model, train, (imu, names) = toy
    encoder.label_efficiency(model, train, (imu, names), one, tmp_path / "a", seed=3)
    encoder.label_efficiency(model, train, (imu, np.roll(names, 7)), one, tmp_path / "b", seed=3)
    assert seen[: len(METHODS)] == seen[len(METHODS) :]
    assert all(set(found) <= set(train[1]) for found in seen)


def counted(monkeypatch):
    """How often a method was scored from here on."""
    calls, score = [], metrics.f1_score
    monkeypatch.setattr(metrics, "f1_score", lambda *args, **how: calls.append(1) or score(*args, **how))
    return calls


def test_a_run_that_is_stopped_goes_on_behind_its_last_row(table, toy, tmp_path, monkeypatch):
    first = SETTINGS.model_copy(update={"shares": [0.2]})
    calls = counted(monkeypatch)
    predict, left = efficiency.predict, iter(range(4))
    with monkeypatch.context() as patch:

        def stop(*args):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return predict(*args)

        patch.setattr(efficiency, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            encoder.label_efficiency(*toy, first, tmp_path, seed=3)
    done = len(journal(tmp_path).read_text().splitlines())
    assert 8 < done < 16
    assert encoder.label_efficiency(*toy, first, tmp_path, seed=3) == table[0][:16]
    assert len(calls) == 16, "nothing is computed twice"


@pytest.mark.parametrize("cut", [1, 30, 2])
def test_a_line_that_was_cut_short_is_computed_again_and_no_other(table, toy, tmp_path, monkeypatch, cut):
    """Cut at the line break, in the middle of the last line, and just before its closing brace."""
    rows, folder = table
    text, mine = journal(folder).read_text(), tmp_path / journal(folder).relative_to(folder)
    mine.parent.mkdir()
    mine.write_text(text[:-cut])
    calls = counted(monkeypatch)
    assert encoder.label_efficiency(*toy, SETTINGS, tmp_path, seed=3) == rows
    assert len(calls) == (0 if cut == 1 else 1)
    assert mine.read_text() == text


def test_a_finished_table_is_read_and_not_made_again(table, toy, monkeypatch):
    calls = counted(monkeypatch)
    assert encoder.label_efficiency(*toy, SETTINGS, table[1], seed=3) == table[0]
    assert calls == []


@pytest.mark.parametrize("change", ["seed", "settings", "model", "windows", "test labels"])
def test_rows_of_another_run_are_not_taken_for_this_ones(toy, tmp_path, monkeypatch, change):
    model, (imu, names), (other, truth) = copy.deepcopy(toy)
    settings, seed = SETTINGS.model_copy(update={"shares": [0.2], "draws": 1}), 3
    calls = []
    same = lambda learn, labels, judge, *_: calls.append(1) or np.zeros(len(judge), int)
    monkeypatch.setattr(efficiency, "METHODS", {"all the same": ("windows", same)})
    for _ in range(2):
        encoder.label_efficiency(model, (imu, names), (other, truth), settings, tmp_path, seed)
    assert len(calls) == 1
    if change == "seed":
        seed = 4
    elif change == "settings":
        settings = settings.model_copy(update={"steps": 3})
    elif change == "model":
        with torch.no_grad():
            model.limu_bert.blocks[0].fc1.bias[0] += 1
    elif change == "windows":
        imu = imu[::-1]
    else:
        truth = truth[::-1]
    encoder.label_efficiency(model, (imu, names), (other, truth), settings, tmp_path, seed)
    assert len(calls) == 2
    assert len(list(tmp_path.glob("*/rows.jsonl"))) == 2


def test_two_processes_find_what_one_finds_and_go_on_where_one_stopped(table, toy, tmp_path, monkeypatch):
    rows, folder = table
    mine = tmp_path / journal(folder).relative_to(folder)
    mine.parent.mkdir()
    mine.write_text("".join(journal(folder).read_text().splitlines(keepends=True)[:3]))
    monkeypatch.setattr(efficiency, "linear_probe", None)  # what is patched here reaches no other process
    again = encoder.label_efficiency(*toy, SETTINGS, tmp_path, seed=3, workers=2)
    alike = lambda rows: [row for row in rows if "forest" not in row["method"]]  # forests are smaller in this process
    assert alike(again) == alike(rows)


def test_the_head_on_kept_states_is_the_head_on_the_frozen_encoder(toy):
    """The same logits and the same gradient, without running the encoder."""
    model, (imu, _), _ = toy
    values = torch.from_numpy(encoder.normalise(imu[:6]))
    whole = encoder.with_head(model, ["a", "b", "c"], "gru")
    alone = encoder.RawGru(3, 30, 16)
    alone.classifier.load_state_dict(whole.classifier.state_dict())
    states, labels = torch.from_numpy(encoder.embed(model, imu[:6])), torch.tensor([0, 1, 2, 0, 1, 2])
    for classifier, read in ((whole, values), (alone, states)):
        classifier(read, labels=labels).loss.backward()
    torch.testing.assert_close(alone(states).logits, whole(values).logits, atol=1e-5, rtol=1e-4)
    for name, weight in whole.classifier.named_parameters():
        torch.testing.assert_close(dict(alone.classifier.named_parameters())[name].grad, weight.grad, msg=name)


def test_windows_of_another_length_have_a_table_too(toy, tmp_path):
    _, (imu, names), (other, truth) = toy
    config = encoder.LimuBertConfig(hidden_size=16, intermediate_size=32, max_position_embeddings=60, patch_size=2)
    one = SETTINGS.model_copy(update={"shares": [0.2], "draws": 1})
    model = encoder.LimuBertForPreTraining(config).eval()
    rows = encoder.label_efficiency(model, (imu[:, :60], names), (other[:, :60], truth), one, tmp_path)
    assert {row["method"] for row in rows} == METHODS


# --- the stage ------------------------------------------------------------------------------------


def test_the_stage_ablate_has_three_parts(smoke_run):
    settings = smoke_run.profile.ablate
    published, variants, rows = smoke_run.ablate()
    assert type(published) is encoder.LimuBertForPreTraining
    assert not published.training
    plain = encoder.LimuBertConfig(max_position_embeddings=signals.LENGTH)
    assert {name: getattr(published.config, name) for name in encoder.network.VARIANTS} == {
        name: getattr(plain, name) for name in encoder.network.VARIANTS
    }
    assert sum(p.numel() for p in published.parameters()) == 62_646
    assert [row["variant"] for row in variants] == settings.shown
    for row in variants:
        assert set(row) == {"variant", "seconds", "untrained", "trained"}
        assert 0 <= row["untrained"] <= 1
        assert 0 <= row["trained"] <= 1
        assert row["seconds"] > 0
    assert {key(row) for row in rows} == {(method, share, 0) for method in METHODS for share in settings.shares}
    assert len(rows) == len(METHODS) * len(settings.shares)
    assert all(0 <= row["macro_f1"] <= 1 for row in rows)
    assert {row["labels"] for row in rows if row["share"] == 1.0} == {len(smoke_run.prepare()["train"])}


def test_what_ablate_made_is_loaded_and_leaves_no_work_behind(smoke_run, monkeypatch):
    smoke_run.ablate()
    monkeypatch.setattr(encoder, "label_efficiency", None)
    monkeypatch.setattr(encoder, "pretrain", None)
    assert len(smoke_run.ablate()) == 3
    assert not list((smoke_run.folder / ".work").glob("ablate-*"))


def test_the_full_grid_has_every_variant_and_a_folder_of_its_own(smoke_run, tmp_path, monkeypatch):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    for stage in ("prepare", "pretrain", "ablate"):
        shutil.copytree(smoke_run.folder / stage, run.folder / stage)
    asked = []
    monkeypatch.setattr(encoder, "label_efficiency", lambda *args: asked.append(args[3]) or [])
    monkeypatch.setattr(encoder, "probe_across_people", lambda *args: 0.5)
    pretrain = encoder.pretrain
    short = lambda windows, settings, *args: pretrain(windows[:32], settings.model_copy(update={"epochs": 1}), *args)
    monkeypatch.setattr(encoder, "pretrain", short)
    assert [row["variant"] for row in run.ablate(full=True)[1]] == list(run.profile.ablate.variants)
    assert [settings.draws for settings in asked] == [2]
    assert [row["variant"] for row in run.ablate()[1]] == run.profile.ablate.shown
    assert len(asked) == 1, "the small table was there"
    assert sorted(path.name for path in run.folder.glob("ablate*")) == ["ablate", "ablate-full"]


def test_windows_are_cut_once_for_all_variants_of_a_stride(smoke_run, tmp_path, monkeypatch):
    """An interruption between two variants leaves what is finished, and the windows."""
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    shutil.copytree(smoke_run.folder / "prepare", run.folder / "prepare")
    shutil.copytree(smoke_run.folder / "pretrain", run.folder / "pretrain")
    cut, trained, left, pretrain = [], [], iter(range(2)), encoder.pretrain
    make_windows = shards.make_windows
    monkeypatch.setattr(shards, "make_windows", lambda *args: cut.append(1) or make_windows(*args))
    monkeypatch.setattr(encoder, "label_efficiency", lambda *args: [])

    def train(windows, settings, *args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        trained.append(len(windows))
        return pretrain(windows, settings.model_copy(update={"epochs": 0.1}), *args)

    monkeypatch.setattr(encoder, "pretrain", train)
    with pytest.raises(KeyboardInterrupt):
        run.ablate()
    left = iter(range(9))
    _, variants, _ = run.ablate()
    people = len(set(run.prepare()["train"]["subject"]))
    assert len(cut) == people
    assert len(trained) == 1 + len(variants) == 3
    assert len(set(trained)) == 1


def test_a_variant_is_the_encoders_section_with_its_changes():
    profile = profiles.load("smoke")
    assert profile.variant("chosen") == profile.encoder
    aligned = profile.variant("gravity-aligned")
    assert aligned.network == profile.encoder.network.model_copy(update={"gravity_aligned": True})
    assert aligned.model_copy(update={"network": profile.encoder.network}) == profile.encoder
    assert profile.variant("turned by up to 15 degrees").max_turn == 15


def test_the_full_grid_is_the_section_with_its_changes():
    settings = profiles.load("cpu").compare
    whole = settings.grid(full=True)
    assert whole.rows("projectors") == list(settings.projectors) != settings.rows("projectors")
    assert (whole.warm_up_epochs, whole.windows, settings.grid().windows) == (12, None, 2000)
    for section in (settings, profiles.load("cpu").ablate):
        assert section.grid(full=True).model_dump(exclude={*section.full, "shown", "full"}) == section.model_dump(
            exclude={*section.full, "shown", "full"}
        )


VARIANT = "ablate.variants.turned 1"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("{network: {fine_chanels: true}}", f"{VARIANT}.network.fine_chanels: is not a known key"),
        ("{mask_ration: 0.2}", f"{VARIANT}.mask_ration: is not a known key"),
        ("{mask_ratio: 1.5}", f"{VARIANT}.mask_ratio: input should be less than 1"),
        ("{network: {block: post_norm}}", f"{VARIANT}.network.block: input should be 'published'"),
        ("{network: 3}", f"{VARIANT}.network: input should be a valid dictionary"),
        ("{network: [patch_size, 1]}", f"{VARIANT}.network: input should be a valid dictionary"),
        ("{network: }", f"{VARIANT}.network: input should be a valid dictionary"),
        ("{network: {patch_size: four}}", f"{VARIANT}.network.patch_size: input should be a valid integer"),
        ("{network: {patch_size: 7}}", f"{VARIANT}.network.patch_size: 7 does not divide the 120 steps"),
        ("{network: {num_attention_heads: 5}}", f"{VARIANT}.network: hidden_size 128 is no multiple of the 5"),
        ("{max_turn: [1, 2]}", f"{VARIANT}.max_turn: input should be a valid number"),
        ("{epochs: 3}", "variant 'turned 1' sets epochs"),
        ("3", f"{VARIANT}: input should be a valid dictionary"),
        ("", f"{VARIANT}: input should be a valid dictionary"),
    ],
)
def test_a_mistake_in_a_variant_is_named_with_the_variant_when_the_profile_is_read(tmp_path, change, sentence):
    assert sentence in refused(tmp_path, "turned by up to 15 degrees: {max_turn: 15}", f"turned 1: {change}")


@pytest.mark.parametrize("name", ["a/b", "..", "'a\\b'", "' '", "'15 % turned?'"])
def test_a_variant_needs_a_name_that_a_file_may_have(tmp_path, name):
    assert "is no name that a file may have" in refused(tmp_path, "chosen: {}", f"{name}: {{}}")


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ("[0, 1]", "ablate.shares.0: input should be greater than 0"),
        ("[0.1, 7]", "ablate.shares.1: input should be less than or equal to 1"),
        ("[.nan]", "ablate.shares.0: input should be a finite number"),
        ("[0.1, 0.1]", "ablate.shares: a share is listed twice"),
        ("[]", "ablate.shares: list should have at least 1 item"),
        ("0.1", "ablate.shares: input should be a valid list"),
    ],
)
def test_shares_lie_between_nothing_and_all_and_each_is_asked_for_once(tmp_path, shares, sentence):
    assert sentence in refused(tmp_path, "shares: [0.1, 1.0]", f"shares: {shares}")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("comparison_epochs: 0.5", "comparison_epochs: .inf", "ablate.comparison_epochs: input should be a finite"),
        ("comparison_epochs: 0.5", "comparison_epochs: 0", "ablate.comparison_epochs: input should be greater than 0"),
        ("  steps: 3\n", "  steps: 0\n", "compare.steps: input should be greater than or equal to 1"),
        ("  steps: 3\n  batch", "  comparison_epochs: 0\n  batch", "compare.steps: field required"),
        (
            "  warm_up_epochs: 1\n",
            "  warm_up_epochs: 0\n",
            "compare.warm_up_epochs: input should be greater than or eq",
        ),
        ("  judges: 40", "  judges: 0", "compare.judges: input should be greater than or equal to 1"),
        ("{steps: 4}", "{steps: 0}", "compare: full.steps: input should be greater than or equal to 1"),
        ("{steps: 4}", "{step: 4}", "compare: full.step: is not a known key"),
        ("{steps: 4}", "{projectors: {}}", "compare: shown has to name some of the projectors, and full has all"),
        ("[chosen, gravity-aligned]", "[chosen, upright]", "ablate: shown: there is no variant 'upright'"),
        ("[chosen, gravity-aligned]", "[]", "ablate.shown: list should have at least 1 item"),
        ("both: {}", "both: {copies: 2}", "compare: variant 'both' sets copies, but that is the same for all"),
        ("both: {}", "both: {steps_per_token: 7}", "compare.comparisons.both.steps_per_token: 7 has to divide the 120"),
        (
            "both: {}",
            "both: {steps_per_token: 6}",
            "steps_per_token: 6 has to divide the 120 steps of a window, and to",
        ),
        (
            "{summary_tokens: 0}\n    sum",
            "{summary_tokens: -1}\n    sum",
            "time-step tokens.summary_tokens: input should",
        ),
        (
            "{encoder_learning_rate: 1.0e-4}",
            "{encoder_learning_rate: 1.0e-4, steps_per_token: 0}",
            "compare.comparisons.both, encoder thawed.encoder_learning_rate: no token is made",
        ),
        ("mask_ratio: 0.15", "mask_ratio: 0.004", "ablate.published.mask_ratio: 0.004 of 120 tokens hides none"),
        ("chosen: {}", "chosen: {mask_ratio: 0.01}", "ablate.variants.chosen.mask_ratio: 0.01 of 30 tokens hides none"),
    ],
)
def test_what_would_fail_after_half_an_hour_is_refused_when_the_profile_is_read(tmp_path, old, new, sentence):
    assert sentence in refused(tmp_path, old, new)


def test_a_recurrent_head_needs_six_pieces_of_a_window(tmp_path):
    sentence = refused(tmp_path, "    patch_size: 4\n", "    patch_size: 8\n")
    assert "encoder.network.patch_size: 15 tokens cannot be cut into the six pieces" in sentence


def refused(tmp_path, old, new):
    """What is said of the smoke profile with one change in its text."""
    text = (profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / "mine.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        profiles.load(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)
