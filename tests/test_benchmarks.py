"""What `make bench` measures can be called: a changed signature must not be found by the reader who measures."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from llasa_lib import encoder, signals


def module(name):
    path = Path(__file__).resolve().parents[1] / "benchmarks" / name
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark():
    return module("run.py")


@pytest.mark.parametrize("rows", ["stage_rows", "model_rows"])
def test_every_row_of_the_benchmark_runs(benchmark, smoke_run, rows):
    ran = []
    for stage, what, function, amount, unit in getattr(benchmark, rows)(smoke_run, smoke_run.prepare()["train"]):
        function()
        assert amount > 0
        assert unit.endswith("/s")
        ran.append((stage, what))
    assert len(set(ran)) == 4


@pytest.fixture(scope="module")
def pretraining():
    return module("bench_encoder.py")


@pytest.fixture(scope="module")
def values(hapt_windows):
    return torch.from_numpy(encoder.normalise(signals.to_array(hapt_windows)[:32]))


def test_every_way_of_pretraining_can_be_timed(pretraining, values):
    batches, models = pretraining.loaders(values, 8), pretraining.networks(values)
    assert set(batches) == set(models) == {"plain", "library", "variant"}
    for way, model in models.items():
        before = [p.detach().clone() for p in model.parameters()]
        rate, losses = pretraining.train(model, batches[way], 2)
        assert rate > 0
        assert np.isfinite(losses).all()
        assert len(losses) == 2
        assert not all(map(torch.equal, before, model.parameters()))


def test_the_plain_way_and_the_library_train_the_same_network_on_masks_of_the_same_size(pretraining, values):
    batches, models = pretraining.loaders(values, 16), pretraining.networks(values)
    plain, library = models["plain"], models["library"].model
    for name, value in plain.state_dict().items():
        assert torch.equal(value, library.state_dict()[name]), name
    assert [m.config._attn_implementation for m in (plain, library)] == ["eager", "sdpa"]
    batch = next(batches["plain"])
    torch.testing.assert_close(plain(**batch).loss, library(**batch).loss, rtol=1e-4, atol=0)
    hidden = round(pretraining.SETTINGS.mask_ratio * 120)
    for masked in (next(batches["plain"]), models["library"].hide(values)):
        assert (masked["mask"].sum(1) == hidden).all()
    variant = models["variant"].model.config
    assert {name: getattr(variant, name) for name in pretraining.PROFILE.encoder.network.model_dump()} == (
        pretraining.PROFILE.encoder.network.model_dump()
    )


def test_a_corpus_can_be_measured(hapt_windows, tmp_path, capsys):
    hapt_windows.save_to_disk(tmp_path)
    found = []
    for count in (12, 12, 13):
        module("bench_captions.py").measure(tmp_path, count, 1)
        found.append(json.loads(capsys.readouterr().out))
    assert [row["pairs"] for row in found] == [60, 60, 65]
    assert found[0]["sha256"] == found[1]["sha256"] != found[2]["sha256"]
    assert 0 < found[0]["peak_gb"] < 64


@pytest.fixture(scope="module")
def language():
    return module("bench_language_model.py")


def test_both_ways_of_tuning_learn_the_same_questions(language, smoke_run):
    corpus, held_out = smoke_run.caption()["train"].select(range(8)), smoke_run.caption()["validation"].select(range(2))
    row = language.tuning_row(smoke_run, corpus, held_out, pairs=10)
    assert set(row) == {"plain", "library", "plain loss", "library loss"}
    assert all(np.isfinite(value) and value > 0 for value in row.values())
    asked = {}
    for plain in (True, False):
        llasa, processor = language.built(smoke_run, corpus, plain)
        assert processor.tokens_per_window == 120 if plain else processor.tokens_per_window < 20
        batches = language.batches(llasa, processor, corpus, plain, 10, language.TURNS)
        assert {len(batch["labels"]) for batch in batches} == {10 if plain else 2}
        taught = torch.cat([batch["labels"][batch["labels"] != -100] for batch in batches])
        asked[plain] = taught.sort().values
    assert torch.equal(asked[True], asked[False]), "as many answers, and the same ones"


def test_both_ways_of_drawing_people_give_the_same_interval(language):
    name, _, _, same = language.bootstrap_row(people=3, windows=12, draws=20)
    assert name in language.LIMITS
    assert same


def test_both_ways_of_answering_give_the_same(language, smoke_run):
    llasa, processor = smoke_run.tune()
    windows = smoke_run.prepare()["test"].select(range(6))
    for name, unit, rates, same in language.answering_rows(llasa, processor, windows, repeats=1, tokens=4):
        assert name in language.LIMITS
        assert unit.endswith("/s")
        assert min(rates.values()) > 0
        assert same, name
