"""What parts are worth: rows that share what they read, and nothing else."""

import pytest

from llasa_lib import ablation, files, language_models
from llasa_lib.errors import LlasaError
from llasa_lib.pipeline import Pipeline


def untimed(rows):
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def test_a_row_by_itself_is_the_row_behind_all_others(smoke_run, tmp_path, monkeypatch):
    """Though they share a language model and the encoder's states, and one of them trains its encoder."""
    together = [
        {row[name]: row for row in rows}
        for rows, name in zip(smoke_run.compare(), ("tokens", "projector"), strict=True)
    ]
    shown = ["both", "mlp2x_gelu, 5 tokens"]
    few = smoke_run.profile.compare.model_copy(update={"shown": shown})
    run = Pipeline(smoke_run.profile.model_copy(update={"compare": few}), smoke_run.folder)
    loads, load = [], language_models.load
    monkeypatch.setattr(language_models, "load", lambda *args, **how: loads.append(1) or load(*args, **how))
    ablation.projectors(run, tmp_path / "made", tmp_path / "work")
    assert len(loads) == 1
    for rows, name, before in zip(ablation.load_projectors(tmp_path / "made"), shown, together, strict=True):
        assert untimed(rows) == untimed([before[name]])


def test_finished_rows_are_not_made_again(smoke_run, tmp_path, monkeypatch):
    smoke_run.compare()
    for table, rows in zip(("comparisons", "projectors"), smoke_run.compare(), strict=True):
        for row in rows:
            files.write_json(row, tmp_path / "work" / table / f"{row.get('tokens') or row['projector']}.json")
    monkeypatch.setattr(ablation.model, "build", None)
    ablation.projectors(smoke_run, tmp_path / "made", tmp_path / "work")
    assert list(ablation.load_projectors(tmp_path / "made")) == list(smoke_run.compare())


def test_a_subset_of_windows_is_spread_over_all_of_them(hapt_windows):
    some = ablation._some(hapt_windows, 40)
    assert len(some) == 40
    assert set(some["subject"]) == set(hapt_windows["subject"])
    assert set(some["activity"]) == set(hapt_windows["activity"])
    assert ablation._some(hapt_windows, None) is ablation._some(hapt_windows, 10**6) is hapt_windows


@pytest.mark.parametrize("verb", ["ablate", "compare"])
def test_the_full_grid_is_made_on_request_only(command, monkeypatch, verb):
    asked = []

    def made(self, full):
        asked.append(full)
        raise LlasaError("enough")

    monkeypatch.setattr(Pipeline, verb, made)
    for arguments in ((), ("--full",)):
        assert command(verb, *arguments, "--profile", "smoke")[0] == 2
    assert asked == [False, True]
