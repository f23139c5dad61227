"""Promises of ``llasa_lib.profiles``: one dial, checked, and every mistake in it named."""

import pytest
import yaml
from pydantic import ValidationError

from llasa_lib import profiles, recordings, signals
from llasa_lib.errors import ProfileError


def written(tmp_path, change):
    """A profile file: smoke with a change made to its dictionary."""
    values = yaml.safe_load((profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8"))
    change(values)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(ProfileError) as caught:
        profiles.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["smoke", "cpu", "colab", "paper"])
def test_every_profile_loads_under_its_own_name(name):
    profile = profiles.load(name)
    assert profile.name == name
    assert not set(profile.data.test_subjects) & set(profile.data.validation_subjects)


def test_the_four_profiles_are_all_there_are():
    assert profiles.names() == ["colab", "cpu", "paper", "smoke"]


def test_all_but_smoke_are_tested_on_the_same_nine_people_of_hapt():
    for name in ("cpu", "colab", "paper"):
        people = [one for one in profiles.load(name).data.test_subjects if one.startswith("hapt-")]
        assert people == [f"hapt-{n:02d}" for n in (2, 4, 9, 10, 12, 13, 18, 20, 24)]


@pytest.mark.parametrize("name", ["cpu", "colab", "paper"])
def test_every_data_set_has_a_reader_and_people_for_validation_and_test(name):
    data = profiles.load(name).data
    assert set(data.sets) <= set(recordings.READERS)
    for chosen in (data.validation_subjects, data.test_subjects):
        assert {one.rsplit("-", 1)[0] for one in chosen} == set(data.sets)


def test_paper_is_the_published_recipe():
    paper = profiles.load("paper")
    assert paper.language_model.name == "lmsys/vicuna-7b-v1.5"
    assert (paper.align.steps_per_token, paper.align.summary_tokens, paper.align.learning_rate) == (1, 0, 1e-4)
    assert (paper.tune.rank, paper.tune.alpha, paper.tune.learning_rate) == (8, 8, 3e-5)
    assert paper.tune.projector_learning_rate == 1e-4
    assert len(paper.tune.targets) == 7
    # A batch is that of all GPUs together: 32 on each of 2 for alignment, 16 on each of 4 for tuning.
    assert (paper.align.batch_size, paper.tune.batch_size) == (2 * 32, 4 * 16)
    for stage in (paper.align, paper.tune):
        assert (stage.epochs, stage.scheduler, stage.warmup_ratio, stage.weight_decay) == (1, "cosine", 0.03, 0)


def test_the_environment_turns_the_dial(monkeypatch):
    monkeypatch.setenv("LLASA_PROFILE", "smoke")
    assert profiles.load().name == "smoke"
    assert profiles.load("cpu").name == "cpu"


def test_without_a_word_it_is_the_one_that_every_machine_can_run(monkeypatch):
    import torch

    monkeypatch.delenv("LLASA_PROFILE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert profiles.load().name == "cpu"


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "a/b", "a\\b", "", " ", ".", "..", ".work", "-p", "~x", "a\nb", "a" * 80]
)
def test_a_name_that_leads_to_another_folder_is_refused(tmp_path, name):
    path = written(tmp_path, lambda values: values.update(name=name))
    with pytest.raises(ProfileError, match="no name that a file may have"):
        profiles.load(path)


@pytest.mark.parametrize(
    "text", [b"name: 2020-13-45", b"name: \xff\xfe", b"[" * 5000, b"a: &x [*x", b"name: 2020-01-01"]
)
def test_what_is_no_yaml_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_bytes(text)
    with pytest.raises(ProfileError, match="own"):
        profiles.load(path)


@pytest.mark.parametrize("piece", ["[", "{a: ", "[{a: "])
def test_brackets_without_end_are_counted_before_they_cost_anything(tmp_path, piece):
    path = tmp_path / "own.yaml"
    path.write_text(piece * 5000)
    assert "more than 20 brackets" in refusal(path)


def test_a_reader_may_give_a_file(tmp_path):
    path = written(tmp_path, lambda values: values.update(name="mine", seed=7))
    assert (profiles.load(path).name, profiles.load(str(path)).seed) == ("mine", 7)


def test_an_unknown_name_is_answered_with_the_known_ones():
    assert "colab, cpu, paper, smoke" in refusal("huge")


def test_an_unknown_key_is_named_with_its_place(tmp_path):
    message = refusal(written(tmp_path, lambda values: values["tune"].update(ranks=4)))
    assert "tune.ranks" in message
    assert "not a known key" in message


def test_a_missing_key_is_named_with_its_place(tmp_path):
    assert "align.epochs" in refusal(written(tmp_path, lambda values: values["align"].pop("epochs")))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("align", "learning_rate", -1.0),
        ("align", "caption_share", 1.5),
        ("encoder", "mask_ratio", 1.0),
        ("tune", "rank", 0),
        ("tune", "turns", 21),
        ("tune", "scheduler", "step"),
        ("language_model", "chat", "llama"),
        ("data", "test_subjects", []),
        ("evaluate", "batch_size", "many"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_place(tmp_path, section, key, value):
    assert f"{section}.{key}" in refusal(written(tmp_path, lambda values: values[section].update({key: value})))


@pytest.mark.parametrize(("key", "value"), [("rate", 20.0), ("length", 120)])
def test_rate_and_length_of_a_window_are_no_choice_of_a_profile(tmp_path, key, value):
    assert f"data.{key}" in refusal(written(tmp_path, lambda values: values["data"].update({key: value})))
    assert (signals.LENGTH, signals.RATE) == (profiles.STEPS, 20.0)


def test_nobody_is_both_tested_on_and_chosen_by(tmp_path):
    message = refusal(written(tmp_path, lambda values: values["data"].update(validation_subjects=["hapt-02"])))
    assert "hapt-02" in message


def test_a_model_without_any_sensor_token_is_refused(tmp_path):
    change = lambda values: values["align"].update(steps_per_token=0, summary_tokens=0)
    assert "no sensor token" in refusal(written(tmp_path, change))


@pytest.mark.parametrize("text", ["name: [", "- a list", "", "just words"])
def test_what_is_not_a_profile_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert "mine.yaml" in refusal(path)


def test_a_loaded_profile_cannot_be_changed():
    profile = profiles.load("smoke")
    with pytest.raises(ValidationError):
        profile.seed = 1
