"""Promises of ``llasa_lib.pipeline``: every stage is made once, from what it says, and is whole or absent."""

import errno
import json
import shutil
import threading

import pytest
import threadpoolctl
import yaml

from llasa_lib import files, pipeline, profiles, recordings, signals, stages, training
from llasa_lib.errors import ArtifactError, DataError, FetchError, LlasaError, ModelError, SplitError
from llasa_lib.pipeline import STAGES, Pipeline


@pytest.fixture
def copied(smoke_run, tmp_path):
    """A pipeline over a copy of the made stages, to be spoiled by a test."""
    return Pipeline("smoke", folder=shutil.copytree(smoke_run.folder, tmp_path / "smoke"))


@pytest.fixture
def untouched(monkeypatch):
    """No stage may be made."""

    def refuse(self, name, folder, work):
        raise AssertionError(f"{name} was made again")

    monkeypatch.setattr(Pipeline, "_fill", refuse)


@pytest.fixture
def makers(monkeypatch):
    """Every stage is made in no time by a stub that leaves one file; returns the names of what was made.

    What a stub leaves depends on what it read and on ``made.says``, as the output of a stage does.
    """

    class Made(list):
        says = ""

    made = Made()

    def fill(self, name, folder, work):
        made.append(name)
        read = [(self.folder / upstream / "content").read_text() for upstream in STAGES[name].reads]
        (folder / "content").write_text(f"{name}({', '.join(read)})" + made.says)

    monkeypatch.setattr(Pipeline, "_fill", fill)
    monkeypatch.setattr(pipeline, "_loaded", lambda load, folder: folder)
    return made


def changed(section, **values):
    """The smoke profile with another value in one section."""
    smoke = profiles.load("smoke")
    return smoke.model_copy(update={section: getattr(smoke, section).model_copy(update=values)})


def debris(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith((".partial", ".old"))]


# --- what a whole run leaves --------------------------------------------------------------------------------------


def test_a_whole_run_gives_a_report_on_people_nobody_trained_on(smoke_run):
    splits, report = smoke_run.prepare(), smoke_run.evaluate()
    assert set(report.subjects) == {"hapt-02"}
    assert set(splits["train"]["subject"]) == {"hapt-01"}
    assert len(report.true) == len(splits["test"])
    assert debris(smoke_run.folder) == []


def test_what_is_made_is_loaded(smoke_run, untouched):
    smoke_run.evaluate()
    model, processor = smoke_run.tune()
    assert model.training is False
    assert processor.tokens_per_window == 9


def test_stages_keep_windows_and_their_order(smoke_run):
    splits, corpus = smoke_run.prepare(), smoke_run.caption()
    for name, split in splits.items():
        assert signals.window_hashes(signals.to_array(split)) == signals.window_hashes(signals.to_array(corpus[name]))


def test_a_loss_curve_and_a_time_are_kept_of_every_training(smoke_run):
    for stage in ("pretrain", "align", "tune"):
        history = smoke_run.history(stage)
        assert [row["step"] for row in history] == sorted({row["step"] for row in history})
        assert all(row["loss"] > 0 for row in history)
        assert smoke_run.seconds(stage) > 0


# --- made once, made again ----------------------------------------------------------------------------------------


def test_every_stage_is_made_once_and_upstream_first(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.evaluate()
    assert makers == ["prepare", "pretrain", "caption", "align", "tune", "evaluate"]
    run.evaluate()
    run.tune()
    assert len(makers) == 6


@pytest.mark.parametrize(
    ("section", "values", "again"),
    [
        ("data", {"test_subjects": ["hapt-03"]}, ["prepare", "pretrain"]),
        ("data", {"processes": 2}, []),
        ("encoder", {"epochs": 3}, ["pretrain"]),
        ("caption", {"copies": ["mirrored"]}, ["caption"]),
        ("align", {"epochs": 2}, ["align"]),
        ("tune", {"rank": 4}, ["tune"]),
        ("evaluate", {"bootstrap": 7}, ["evaluate"]),
        ("compare", {"projector_epochs": 3}, []),
    ],
)
@pytest.mark.parametrize("other", [False, True], ids=["same output", "other output"])
def test_a_changed_setting_makes_its_stage_again_and_those_behind_it_if_its_output_changes(
    makers, tmp_path, section, values, again, other
):
    Pipeline("smoke", folder=tmp_path / "smoke").evaluate()
    makers.clear()
    makers.says = "!" if other else ""
    Pipeline(changed(section, **values), folder=tmp_path / "smoke").evaluate()
    if other and again:
        behind = [name for name in ALL if again[0] in before(name)]
        again = [name for name in ALL if name in again or name in behind]
    assert makers == again


def test_what_a_killed_run_left_half_written_is_removed_when_its_stage_is_made(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    # The second is a model that was being saved into the first; the last two belong to stages that are not made here.
    left = [".align.1.partial", "..align.1.partial.2.partial", ".align.3.old", ".tune.4.partial", ".compare.5.partial"]
    for name in left:
        (run.folder / name).mkdir(parents=True)
        (run.folder / name / files.MARKER).touch()
    run.align()
    assert sorted(debris(run.folder)) == [".compare.5.partial", ".tune.4.partial"]


def test_a_stage_that_a_kill_left_aside_is_put_back_and_not_made_again(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.pretrain()
    (run.folder / "pretrain").rename(run.folder / ".pretrain.1.old")
    (run.folder / ".pretrain.2.partial").mkdir()
    run.pretrain()
    assert makers == ["prepare", "pretrain"]
    assert debris(run.folder) == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to(path.parent), lambda path: path.write_text("notes")])
def test_a_stage_that_cannot_be_put_in_its_place_is_not_even_begun(makers, tmp_path, make):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.prepare()
    make(run.folder / "pretrain")
    with pytest.raises(ArtifactError, match=r"pretrain .* nothing is written there"):
        run.pretrain()
    assert makers == ["prepare"]


def test_what_interrupted_runs_of_other_settings_left_goes_with_the_stage_that_is_made(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    names = [f"pretrain-{'a' * 16}", f"pretrain-{'b' * 16}", f"prepare-{'c' * 16}", f"pretrain-full-{'d' * 16}"]
    for name in names:
        (run.folder / ".work" / name).mkdir(parents=True)
    run.pretrain()
    assert [path.name for path in (run.folder / ".work").iterdir()] == names[3:]


ALL = ["prepare", "pretrain", "caption", "align", "tune", "evaluate"]


def before(name):
    """Every stage that a stage rests on."""
    return {upstream for one in STAGES[name].reads for upstream in {one, *before(one)}}


def test_a_changed_code_makes_its_stage_again_and_nothing_behind_it_as_long_as_its_output_is_the_same(
    makers, tmp_path, monkeypatch
):
    package = shutil.copytree(files.PACKAGE, tmp_path / "llasa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(files, "PACKAGE", package)
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.evaluate()
    makers.clear()
    source = package / "questions" / "answers.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "\n# prose changes nothing\nMORE = 1  # and nobody reads this\n", encoding="utf-8")
    run.evaluate()
    assert makers == []
    source.write_text(text.replace("cannot be told from", "is not told by"), encoding="utf-8")
    run.evaluate()
    assert makers[0] == "caption"
    assert "align" not in makers
    makers.says = "another corpus"
    source.write_text(text.replace("cannot be told from", "is not in"), encoding="utf-8")
    makers.clear()
    run.evaluate()
    assert makers == ["caption", "align", "tune", "evaluate"]


def test_an_artifact_of_other_code_has_no_content_until_it_is_made_again(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    assert run.content("tune") is None
    run.tune()
    known = run.content("tune")
    assert known
    other = Pipeline(changed("encoder", epochs=3), folder=tmp_path / "smoke")
    assert other.content("tune") is None
    assert other.content("prepare") == run.content("prepare")
    other.tune()
    assert other.content("tune") == known


def test_numpy_multiplies_with_one_thread_while_a_stage_is_made(makers, tmp_path, monkeypatch):
    def threads():
        return [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]

    seen = []
    monkeypatch.setattr(Pipeline, "_fill", lambda *_: seen.append(threads()))
    monkeypatch.setattr(pipeline, "_loaded", lambda load, folder: folder)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        Pipeline("smoke", folder=tmp_path).prepare()
        assert threads() == before
    openblas = [info for info in threadpoolctl.threadpool_info() if info["prefix"] == "libscipy_openblas"]
    assert seen == [[1] * len(before)] or not openblas


def test_no_stage_reads_a_recording_of_the_reader(smoke_folder, tmp_path, monkeypatch):
    """So a change in how an export is read makes no model again."""
    monkeypatch.setattr(recordings, "read", lambda *_, **__: pytest.fail("a stage read a reader's recording"))
    Pipeline("smoke", folder=tmp_path / "smoke").caption()


def test_keys_name_every_stage_differently():
    keys = [Pipeline("smoke").key(stage) for stage in STAGES]
    assert len(set(keys)) == len(keys)


def test_two_pipelines_at_once_make_a_stage_once(makers, tmp_path):
    runs = [threading.Thread(target=Pipeline("smoke", folder=tmp_path / "smoke").prepare) for _ in range(4)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert makers == ["prepare"]


# --- interrupted, broken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_stage_leaves_nothing_half_written(makers, tmp_path, monkeypatch, error):
    def die(self, name, folder, work):
        (folder / "half").write_text("half")
        raise error

    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.prepare()
    monkeypatch.setattr(Pipeline, "_fill", die)
    with pytest.raises(error):
        run.caption()
    assert not (run.folder / "caption").exists()
    assert (run.folder / "prepare" / "content").exists()
    assert debris(run.folder) == []


def test_an_interrupted_renewal_leaves_the_old_artifact(makers, tmp_path, monkeypatch):
    Pipeline("smoke", folder=tmp_path / "smoke").prepare()

    def die(self, name, folder, work):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "_fill", die)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(changed("data", test_subjects=["hapt-03"]), folder=tmp_path / "smoke").prepare()
    assert (tmp_path / "smoke" / "prepare" / "content").read_text() == "prepare()"


def test_checkpoints_of_another_key_are_not_resumed(copied, monkeypatch):
    """Each key trains in a folder of its own."""
    folders = []
    monkeypatch.setattr(
        stages.tuning, "tune", lambda model, processor, corpus, settings, work, seed, keep: folders.append(work)
    )
    for rank in (3, 4):
        with pytest.raises(TypeError):  # the stub returns no model
            Pipeline(changed("tune", rank=rank), folder=copied.folder).tune()
    assert len(set(folders)) == 2
    assert all(folder.parent == copied.folder / ".work" for folder in folders)


def test_an_interrupted_training_goes_on_from_its_checkpoint(copied, monkeypatch):
    """Stopped behind its first checkpoint and started again, tuning ends in the weights of an uninterrupted run."""
    whole = (copied.folder / "tune" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(copied.folder / "tune")
    fit, steps = training.fit, []

    def stop(step, model):
        if step == 2:
            raise KeyboardInterrupt

    for on_step in (stop, lambda step, model: steps.append(step)):
        more = {"save_every": 2, "on_step": on_step}
        monkeypatch.setattr(training, "fit", lambda *args, more=more, **kwargs: fit(*args, **{**kwargs, **more}))
        if on_step is stop:
            with pytest.raises(KeyboardInterrupt):
                copied.tune()
            assert not (copied.folder / "tune").exists()
        else:
            copied.tune()
    assert steps[0] == 2
    assert (copied.folder / "tune" / "adapter_model.safetensors").read_bytes() == whole
    assert list((copied.folder / ".work").glob("*")) == []


@pytest.mark.parametrize("stage", ["pretrain", "align", "tune"])
def test_a_disk_that_is_full_when_the_model_is_saved_costs_no_training(copied, monkeypatch, stage):
    file = copied.folder / stage / ("adapter_model.safetensors" if stage == "tune" else "model.safetensors")
    whole = file.read_bytes()
    shutil.rmtree(file.parent)
    steps = []

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    fit, count = training.fit, {"on_step": lambda step, model: steps.append(step)}
    monkeypatch.setattr(training, "fit", lambda *args, **kwargs: fit(*args, **{**kwargs, **count}))
    with monkeypatch.context() as patched:
        patched.setattr(stages.encoder.LimuBertForPreTraining, "save_pretrained", full)
        patched.setattr(stages.model, "save", full)
        with pytest.raises(OSError, match="No space left"):
            getattr(copied, stage)()
    assert not file.parent.exists()
    taken = list(range(len(steps)))
    getattr(copied, stage)()
    assert len(taken) > 1
    assert steps == [*taken, taken[-1]], "nothing was trained a second time"
    assert file.read_bytes() == whole
    assert list((copied.folder / ".work").glob("*")) == []


@pytest.mark.parametrize("harm", ["delete", "cut"])
def test_a_broken_corpus_is_refused_with_the_folder_to_delete(copied, untouched, harm):
    path = copied.folder / "prepare" / "validation.parquet"
    if harm == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"prepare.*Delete it"):
        copied.prepare()


def test_a_broken_model_is_refused_with_the_folder_it_is_in(copied, untouched):
    (copied.folder / "align" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises((ArtifactError, ModelError), match=str(copied.folder)):
        copied.align()


def test_a_broken_encoder_is_refused_with_the_folder_it_is_in(copied, untouched):
    (copied.folder / "pretrain" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises((ArtifactError, ModelError), match="pretrain"):
        copied.pretrain()


def test_a_broken_report_is_refused(copied, untouched):
    (copied.folder / "evaluate" / "report.json").write_text("{")
    with pytest.raises(ArtifactError, match="report"):
        copied.evaluate()


def test_a_stage_without_its_stamp_counts_as_not_made(makers, tmp_path):
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.prepare()
    for count, text in enumerate(("half a stam", "[]", "{}", ""), start=2):
        (run.folder / "prepare" / "stage.json").write_text(text)
        run.prepare()
        assert makers == ["prepare"] * count
        assert json.loads((run.folder / "prepare" / "stage.json").read_text())["key"] == run.key("prepare")


def test_an_artifact_whose_splits_share_a_person_is_refused_on_loading(copied, untouched):
    shutil.copy(copied.folder / "prepare" / "train.parquet", copied.folder / "prepare" / "test.parquet")
    with pytest.raises(SplitError, match="hapt-01"):
        copied.prepare()


# --- without making anything --------------------------------------------------------------------------------------


def test_ready_gives_the_tuned_model_whatever_code_made_it(smoke_home, monkeypatch):
    monkeypatch.setenv("LLASA_HOME", str(smoke_home))
    monkeypatch.setattr(Pipeline, "key", lambda self, stage: "another")
    model, _processor = pipeline.ready("smoke")
    assert model.config.model_type == "llasa"


def test_ready_says_how_to_make_a_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    with pytest.raises(ArtifactError, match="llasa tune --profile smoke"):
        pipeline.ready("smoke")
    assert list(tmp_path.iterdir()) == []


def test_a_profile_file_of_a_reader_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    values = yaml.safe_load((profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8"))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**values, "name": "mine"}), encoding="utf-8")
    assert Pipeline(str(tmp_path / "mine.yaml")).folder == tmp_path.resolve() / "artifacts" / "mine"


# --- sets that cannot be fetched ------------------------------------------------------------------


def prepared(tmp_path, monkeypatch, errors, sets=("hapt", "shoaib", "pamap2")):
    """Subjects of each part that ``prepare`` makes of these sets, where finding some of them raises an error."""
    find = recordings.sources.find

    def found(name):
        if name in errors:
            raise errors[name]
        return find(name)

    monkeypatch.setattr(recordings.sources, "find", found)
    monkeypatch.setattr(recordings.hapt, "PEOPLE", (1, 2, 5))
    data = {
        "sets": list(sets),
        "test_subjects": ["hapt-02", "shoaib-09", "pamap2-105"],
        "validation_subjects": ["hapt-05", "shoaib-08"],
    }
    profile = profiles.load("smoke")
    run = Pipeline(profile.model_copy(update={"data": profiles.Data(**data)}), folder=tmp_path / "run")
    (tmp_path / "out").mkdir()
    stages.prepare(run, tmp_path / "out", tmp_path / "work")
    return {name: sorted(set(part["subject"])) for name, part in stages.load_splits(tmp_path / "out").items()}


def test_sets_that_cannot_be_fetched_are_left_out_with_their_names_and_reasons(tmp_path, monkeypatch):
    errors = {"shoaib": FetchError("no route to it."), "pamap2": FetchError("404 from there.")}
    with pytest.warns(UserWarning, match="left out") as said:
        splits = prepared(tmp_path, monkeypatch, errors)
    assert splits == {"train": ["hapt-01"], "validation": ["hapt-05"], "test": ["hapt-02"]}
    told = [str(one.message) for one in said if "left out" in str(one.message)]
    assert [(one.split()[0], "no route" in one, "404" in one) for one in told] == [
        ("shoaib", True, False),
        ("pamap2", False, True),
    ]
    assert all(str(tmp_path / "run" / "prepare") in one for one in told)


@pytest.mark.parametrize("sets", [("shoaib",), ("hapt", "shoaib")])
def test_without_anybody_to_test_on_no_set_is_left_out(tmp_path, monkeypatch, sets):
    errors = {name: FetchError(f"{name}: no route to it.") for name in sets}
    with pytest.raises(FetchError, match=f"{sets[0]}: no route"):
        prepared(tmp_path, monkeypatch, errors, sets)


@pytest.mark.parametrize("name", ["hapt", "shoaib"])
def test_a_damaged_set_is_never_left_out(tmp_path, monkeypatch, name):
    with pytest.raises(DataError, match="not the published file"):
        prepared(tmp_path, monkeypatch, {name: DataError("not the published file.")}, ("hapt", "shoaib"))


def test_a_set_of_which_nobody_is_read_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(stages.recordings.sources, "find", lambda name: {"hapt": tmp_path}[name])
    data = profiles.load("smoke").data.model_copy(update={"sets": ["hapt", "pamap2"]})
    assert stages._within_reach(data) == (["hapt-01", "hapt-05", "hapt-02"], {})


def test_subjects_of_no_set_are_refused_in_a_sentence(tmp_path):
    profile = profiles.load("smoke")
    data = profile.data.model_copy(update={"subjects": ["pamap2-101"]})
    run = Pipeline(profile.model_copy(update={"data": data}), folder=tmp_path / "run")
    with pytest.raises(LlasaError):
        stages.prepare(run, tmp_path, tmp_path / "work")
