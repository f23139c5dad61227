"""Shared fixtures: real HAPT recordings of three people, read once."""

import copy
import sys
import warnings

import pytest


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
def tiny_llasa(hapt_windows):
    """A whole model of 1.7 M random weights, and its processor: copy the model before changing it."""
    from llasa_lib import encoder, model, profiles, signals

    language_model = profiles.LanguageModel(name="tiny", chat="chatml")
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig()).eval()
    llasa, processor = model.build(limu_bert, signals.to_array(hapt_windows), language_model, 24, 4, True, seed=0)
    return llasa.eval(), processor


@pytest.fixture
def llasa(tiny_llasa):
    """A copy of that model that a test may change."""
    return copy.deepcopy(tiny_llasa[0])


@pytest.fixture(scope="session")
def corpus(hapt_windows):
    """Captions and questions of the first 96 windows."""
    from llasa_lib import questions

    return questions.make_corpus(hapt_windows.select(range(96)))


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory, worker_id):
    """A folder for ``LLASA_HOME`` in which every stage of the smoke profile is made, once for all processes."""
    from llasa_lib.pipeline import Pipeline

    # Above the folders of the test processes lies the session's own; a stage's lock lets one of them make it.
    alone = worker_id == "master"
    home = tmp_path_factory.mktemp("home") if alone else tmp_path_factory.getbasetemp().parent / "home"
    Pipeline("smoke", folder=home / "artifacts" / "smoke").run()
    return home


@pytest.fixture
def smoke_run(smoke_home):
    """The pipeline over those stages. Copy its folder before changing anything in it."""
    from llasa_lib.pipeline import Pipeline

    return Pipeline("smoke", folder=smoke_home / "artifacts" / "smoke")


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
