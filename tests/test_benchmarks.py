"""What `make bench` measures can be called: a changed signature must not be found by the reader who measures."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "run.py"
    spec = importlib.util.spec_from_file_location("benchmark_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("rows", ["stage_rows", "model_rows"])
def test_every_row_of_the_benchmark_runs(benchmark, smoke_run, rows):
    ran = []
    for stage, what, function, amount, unit in getattr(benchmark, rows)(smoke_run, smoke_run.prepare()["train"]):
        function()
        assert amount > 0
        assert unit.endswith("/s")
        ran.append((stage, what))
    assert len(set(ran)) == 4
