"""Promises of ``llasa_lib.pipeline``: every stage is made once, from what it says, and is whole or absent."""

import errno
import json
import shutil
import threading

import pytest
import threadpoolctl
import yaml

from llasa_lib import evaluation, files, pipeline, profiles, signals, training
from llasa_lib.errors import ArtifactError, ModelError, SplitError
from llasa_lib.pipeline import STAGES, Pipeline


@pytest.fixture
def copied(smoke_run, tmp_path):
    """A pipeline over a copy of the made stages, to be spoiled by a test."""
    return Pipeline("smoke", folder=shutil.copytree(smoke_run.folder, tmp_path / "smoke"))


@pytest.fixture
def untouched(monkeypatch):
    """No stage may be made."""

    def refuse(self, name, make, target, wanted):
        raise AssertionError(f"{name} was made again")

    monkeypatch.setattr(Pipeline, "_make", refuse)


@pytest.fixture
def makers(monkeypatch):
    """Every stage is made in no time by a stub that leaves one file; returns the names of what was made."""
    made = []

    def stub(name):
        def make(self, folder, work):
            made.append(name)
            (folder / "content").write_text(name)

        return make

    for name in STAGES:
        monkeypatch.setattr(Pipeline, f"_{name}", stub(name))
    monkeypatch.setattr(pipeline, "_load_splits", lambda folder: {})
    monkeypatch.setattr(pipeline.encoder, "load", lambda folder: {})
    monkeypatch.setattr(pipeline.model, "load", lambda folder: (folder, None))
    monkeypatch.setattr(signals, "check_disjoint", lambda splits: None)
    monkeypatch.setattr(evaluation.Report, "load", lambda path: path)
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
        ("data", {"subjects": None}, ["prepare", "pretrain", "caption", "align", "tune", "evaluate"]),
        ("encoder", {"epochs": 3}, ["pretrain", "align", "tune", "evaluate"]),
        ("align", {"epochs": 2}, ["align", "tune", "evaluate"]),
        ("tune", {"rank": 4}, ["tune", "evaluate"]),
        ("evaluate", {"bootstrap": 7}, ["evaluate"]),
    ],
)
def test_a_changed_setting_makes_its_stage_and_all_after_it_again(makers, tmp_path, section, values, again):
    Pipeline("smoke", folder=tmp_path / "smoke").evaluate()
    makers.clear()
    Pipeline(changed(section, **values), folder=tmp_path / "smoke").evaluate()
    assert makers == again


def test_changed_code_makes_its_stage_and_all_after_it_again(makers, tmp_path, monkeypatch):
    package = shutil.copytree(files.PACKAGE, tmp_path / "llasa_lib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(files, "PACKAGE", package)
    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.evaluate()
    makers.clear()
    source = package / "questions" / "making.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# prose changes nothing\n", encoding="utf-8")
    run.evaluate()
    assert makers == []
    source.write_text(source.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    run.evaluate()
    assert makers == ["caption", "align", "tune", "evaluate"]


def test_numpy_multiplies_with_one_thread_while_a_stage_is_made(makers, tmp_path, monkeypatch):
    def threads():
        return [info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]

    seen = []
    monkeypatch.setattr(Pipeline, "_prepare", lambda *_: seen.append(threads()))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        Pipeline("smoke", folder=tmp_path).prepare()
        assert threads() == before
    openblas = [info for info in threadpoolctl.threadpool_info() if info["prefix"] == "libscipy_openblas"]
    assert seen == [[1] * len(before)] or not openblas


def test_fingerprints_name_every_stage_differently():
    prints = [Pipeline("smoke").fingerprint(stage) for stage in STAGES if stage != "compare"]
    assert len(set(prints)) == len(prints)


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
    def die(self, folder, work):
        (folder / "half").write_text("half")
        raise error

    run = Pipeline("smoke", folder=tmp_path / "smoke")
    run.prepare()
    monkeypatch.setattr(Pipeline, "_caption", die)
    with pytest.raises(error):
        run.caption()
    assert not (run.folder / "caption").exists()
    assert (run.folder / "prepare" / "content").exists()
    assert debris(run.folder) == []


def test_an_interrupted_renewal_leaves_the_old_artifact(makers, tmp_path, monkeypatch):
    Pipeline("smoke", folder=tmp_path / "smoke").prepare()

    def die(self, folder, work):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "_prepare", die)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(changed("data", subjects=None), folder=tmp_path / "smoke").prepare()
    assert (tmp_path / "smoke" / "prepare" / "content").read_text() == "prepare"


def test_checkpoints_of_another_fingerprint_are_not_resumed(copied, monkeypatch):
    """Each fingerprint trains in a folder of its own."""
    folders = []
    monkeypatch.setattr(
        pipeline.tuning, "tune", lambda model, processor, corpus, settings, work, seed, keep: folders.append(work)
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

    class Stop(training.TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    class Count(training.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    for callback in (Stop, Count):
        more = {"save_every": 2, "callbacks": [callback()]}
        monkeypatch.setattr(training, "fit", lambda *args, more=more, **kwargs: fit(*args, **{**kwargs, **more}))
        if callback is Stop:
            with pytest.raises(KeyboardInterrupt):
                copied.tune()
            assert not (copied.folder / "tune").exists()
        else:
            copied.tune()
    assert steps[0] == 3
    assert (copied.folder / "tune" / "adapter_model.safetensors").read_bytes() == whole
    assert list((copied.folder / ".work").glob("*")) == []


@pytest.mark.parametrize("stage", ["pretrain", "align", "tune"])
def test_a_disk_that_is_full_when_the_model_is_saved_costs_no_training(copied, monkeypatch, stage):
    file = copied.folder / stage / ("adapter_model.safetensors" if stage == "tune" else "model.safetensors")
    whole = file.read_bytes()
    shutil.rmtree(file.parent)
    steps = []

    class Count(training.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda *args, **kwargs: fit(*args, **{**kwargs, "callbacks": [Count()]}))
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.encoder.LimuBertForPreTraining, "save_pretrained", full)
        patched.setattr(pipeline.model, "save", full)
        with pytest.raises(OSError, match="No space left"):
            getattr(copied, stage)()
    assert not file.parent.exists()
    taken = len(steps)
    getattr(copied, stage)()
    assert taken
    assert len(steps) == taken, "nothing was trained a second time"
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
    (run.folder / "prepare" / "stage.json").write_text("half a stam")
    run.prepare()
    assert makers == ["prepare", "prepare"]
    assert json.loads((run.folder / "prepare" / "stage.json").read_text())["fingerprint"] == run.fingerprint("prepare")


def test_an_artifact_whose_splits_share_a_person_is_refused_on_loading(copied, untouched):
    shutil.copy(copied.folder / "prepare" / "train.parquet", copied.folder / "prepare" / "test.parquet")
    with pytest.raises(SplitError, match="hapt-01"):
        copied.prepare()


# --- without making anything --------------------------------------------------------------------------------------


def test_ready_gives_the_tuned_model_whatever_code_made_it(smoke_home, monkeypatch):
    monkeypatch.setenv("LLASA_HOME", str(smoke_home))
    monkeypatch.setattr(Pipeline, "fingerprint", lambda self, stage: "another")
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
