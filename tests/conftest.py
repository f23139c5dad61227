"""Shared fixtures: real HAPT recordings of three people, read once."""

import copy
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest

# A training must come out the same on any CPU; some would take bfloat16.
os.environ.setdefault("LLASA_PRECISION", "float32")

PATIENCE = 180  # seconds until the alarm rings

# Tests of one file stay in one process: the long files begin, so that no process is left alone with one in the end.
LONG = ("efficiency", "architectures", "distributed", "model_bad_input", "interrupted", "writers", "quantized")
LONG += ("pipeline", "verification", "strangers", "questions", "captions", "repository", "variants", "corpora")


def pytest_collection_modifyitems(items):
    """Long files first."""
    place = {f"test_{name}.py": n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def hapt_recordings():
    """All recordings of HAPT subjects 1, 2 and 5."""
    from llasa_lib import recordings

    return recordings.load("hapt", subjects=[1, 2, 5])


@pytest.fixture(scope="session")
def hapt_windows(hapt_recordings):
    """Windows of those three people, as a ``datasets.Dataset``."""
    from llasa_lib import signals

    return signals.make_windows(hapt_recordings)


@pytest.fixture(scope="session")
def small_words(tmp_path_factory):
    """A folder with the model ``tiny`` and SmolLM2's tokenizer, both of its first 8,192 words.

    What a test reads, copies and saves is a sixth, and answers are scored in as much less time.
    """
    import json

    from llasa_lib import language_models

    folder, words = tmp_path_factory.mktemp("small_words"), 8192
    llama, tokenizer = language_models.load("tiny", chat="chatml")
    llama.resize_token_embeddings(words)
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    known = whole["model"]["vocab"] = {word: n for word, n in whole["model"]["vocab"].items() if n < words}
    whole["model"]["merges"] = [pair for pair in whole["model"]["merges"] if "".join(pair) in known]
    path.write_text(json.dumps(whole), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_llasa(hapt_windows, small_words):
    """A whole model of random weights, and its processor: copy what a test changes (``llasa``, ``processor``)."""
    import torch

    from llasa_lib import encoder, model, profiles, signals

    language_model = profiles.LanguageModel(name=str(small_words), chat="chatml")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same weights whatever ran before
        limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig()).eval()
    llasa, processor = model.build(limu_bert, signals.to_array(hapt_windows), language_model, 24, 4, True, seed=0)
    return llasa.eval(), processor


@pytest.fixture
def llasa(tiny_llasa):
    """A copy of that model that a test may change."""
    return copy.deepcopy(tiny_llasa[0])


@pytest.fixture
def processor(tiny_llasa):
    """A copy of its processor that a test may change."""
    return copy.copy(tiny_llasa[1])


@pytest.fixture(autouse=True)
def shared_model_stays(request):
    """Fail a test that changes the model or the processor that all others read."""
    if "tiny_llasa" not in request.fixturenames:
        yield
        return
    model, shared = request.getfixturevalue("tiny_llasa")
    state = lambda: (shared.measurements, model.training, {k: (id(p), p._version) for k, p in model.named_parameters()})
    before = state()
    yield
    assert state() == before, "this test changed tiny_llasa: ask for the fixtures llasa and processor instead"


@pytest.fixture(scope="session")
def corpus(hapt_windows):
    """Captions and questions of the first 96 windows."""
    from llasa_lib import questions

    return questions.make_corpus(hapt_windows.select(range(96)))


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory, worker_id):
    """Where the stages of the smoke profile are made, once for all test processes; each when it is asked for.

    ``make test`` names a home, so that the notebooks find the same stages.
    """
    # Above the folders of the test processes lies the session's own; a stage's lock lets one of them make it.
    alone = worker_id == "master"
    home = tmp_path_factory.mktemp("home") if alone else tmp_path_factory.getbasetemp().parent / "home"
    return Path(os.environ.get("LLASA_SMOKE_HOME", home)) / "artifacts" / "smoke"


@pytest.fixture(scope="session")
def smoke_home(smoke_folder):
    """A folder for ``LLASA_HOME`` in which every stage of the smoke profile is made."""
    from llasa_lib.pipeline import Pipeline

    Pipeline("smoke", folder=smoke_folder).run()
    return smoke_folder.parent.parent


@pytest.fixture(scope="session")
def small_home(smoke_folder, tmp_path_factory):
    """Make a folder for ``LLASA_HOME`` with a profile like smoke, and all that comes before its alignment.

    Both trainings end with a batch of one sample, and are logged twice.
    """
    import shutil

    import yaml

    from llasa_lib import files, language_models, profiles
    from llasa_lib.pipeline import Pipeline

    made = Pipeline("smoke", folder=smoke_folder)
    made.pretrain(), made.caption(), language_models.load_tokenizer("tiny")
    values = yaml.safe_load((profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8"))
    rows = len(made.caption()["train"]) * (1 + len(values["caption"]["copies"]))
    for stage in ("align", "tune"):
        values[stage] |= {"batch_size": 4, "epochs": (9 * 4 + 1) / rows}

    def make(home=None):
        home = home or tmp_path_factory.mktemp("small")
        for stage in ("prepare", "pretrain", "caption"):
            shutil.copytree(smoke_folder / stage, home / "artifacts" / "small" / stage)
        # Unpacking the tokenizer takes longer than the test.
        (home / "artifacts" / "language_models").symlink_to(files.root() / "artifacts" / "language_models")
        (home / "small.yaml").write_text(yaml.safe_dump({**values, "name": "small"}), encoding="utf-8")
        return home

    return make


@pytest.fixture(scope="session")
def small_run(small_home, tmp_path_factory, worker_id):
    """The pipeline over such a folder, aligned and tuned by one process without an interruption, once for all tests."""
    from filelock import FileLock

    from llasa_lib.pipeline import Pipeline

    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "small-run"
    with FileLock(f"{home}.lock"):
        if not (home / "small.yaml").exists():
            small_home(home)
    run = Pipeline(str(home / "small.yaml"), folder=home / "artifacts" / "small")
    run.tune()
    return run


@pytest.fixture
def smoke_run(smoke_home):
    """The pipeline over those stages. Copy its folder before changing anything in it."""
    from llasa_lib.pipeline import Pipeline

    return Pipeline("smoke", folder=smoke_home / "artifacts" / "smoke")


@pytest.fixture
def alarm():
    """Ends a test that would never end, as on a pattern that explodes: a guard against hours, no measurement.

    Without SIGALRM, as on Windows, the test is done without it.
    """
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    ring = lambda *args: pytest.fail(f"not at an end after {PATIENCE} s, on any machine too long")
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``llasa`` in this process; returns (exit code, standard output, standard error)."""
    from llasa_lib import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llasa", *map(str, arguments)])
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(SystemExit) as caught:
                cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    return run
