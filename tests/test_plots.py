"""Promises of ``plots``, ``widgets`` and ``notebook``: units on every axis, colours told apart, nothing computed."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from llasa_lib import asking, captions, evaluation, notebook, plots, recordings, signals, verification, widgets
from llasa_lib.evaluation import System

SIX = list(recordings.ACTIVITIES[:6])


@pytest.fixture(autouse=True)
def no_window():
    matplotlib.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def walk(hapt_windows):
    row = list(hapt_windows["activity"]).index("walking")
    return signals.to_array(hapt_windows.select([row]))[0]


@pytest.fixture
def report():
    true = SIX * 4
    subjects = ["hapt-02"] * 12 + ["hapt-04"] * 12
    systems = [
        System.score("right", "model", true, true, subjects, draws=5),
        System.score("silent", "control", true, ["unclear"] * 24, subjects, draws=5),
        System.score("lazy", "baseline", true, ["sitting"] * 24, subjects, draws=5),
    ]
    examples = [{"row": n, "subject": subjects[n], "activity": true[n], "answer": true[n]} for n in range(24)]
    return evaluation.Report("test", true, subjects, systems, examples)


def texts(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


# --- figures ------------------------------------------------------------------------------------------------------


def test_every_activity_has_a_colour_of_its_own():
    assert list(plots.ACTIVITY_COLOURS) == list(recordings.ACTIVITIES)
    assert len(set(plots.ACTIVITY_COLOURS.values())) == len(recordings.ACTIVITIES)


def test_a_window_is_drawn_as_it_is_with_units(walk):
    above, below = plots.window(walk, shade=[(1, 2)])
    assert above.get_ylabel() == "acceleration (m/s²)"
    assert below.get_ylabel() == "rotation (rad/s)"
    assert below.get_xlabel() == "time (s)"
    for ax, first in ((above, 0), (below, 3)):
        for n in range(3):
            seconds, values = ax.lines[n].get_data()
            np.testing.assert_allclose(values, walk[:, first + n])
            assert seconds[-1] == pytest.approx(5.95)


def test_the_legend_hides_no_sample(walk):
    above, _ = plots.window(walk)
    above.figure.canvas.draw()
    box = above.get_legend().get_window_extent().transformed(above.transData.inverted())
    assert walk[:, :3].max() < box.y0


def test_shares_are_drawn_one_bar_per_activity_in_their_order():
    ax = plots.shares([0.5, 0.2, 0.3], SIX[:3])
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.2, 0.3]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(SIX[:3])


@pytest.mark.parametrize(("system", "columns"), [("right", 6), ("silent", 7)])
def test_a_confusion_matrix_has_a_column_for_unclear_only_if_needed(report, system, columns):
    ax = plots.confusion(report, system)
    assert len(texts(ax)) == columns
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


def test_a_reply_shows_signal_answer_and_belief(walk):
    shares = dict(zip(SIX, np.full(6, 1 / 6), strict=True))
    axes = plots.reply(asking.Reply(0, 6, walk, "The person is walking.", "", shares), truth="walking")
    assert "The person is walking." in axes["acceleration"].get_title(loc="left")
    assert len(axes["shares"].patches) == 6


def test_a_window_taken_apart_shows_gravity_rhythm_and_named_features(walk):
    axes = widgets.anatomy(walk)
    dashed = [line for line in axes["acceleration"].lines if line.get_linestyle() == "--"]
    assert len(dashed) == 3
    np.testing.assert_allclose(dashed[0].get_ydata(), signals.split_gravity(walk[:, :3], 20)[0][:, 0])
    assert "Hz" in axes["spectrum"].get_xlabel()
    (beside,) = axes["features"].texts
    assert all(name in beside.get_text() for name in widgets.SHOWN)


def test_a_reader_can_walk_through_people_activities_and_moments(hapt_windows, monkeypatch):
    drawn = []
    monkeypatch.setattr(widgets, "anatomy", drawn.append)
    box = widgets.explore(hapt_windows)
    subject, activity, moment = box.children[0].children
    assert list(subject.options) == ["hapt-01", "hapt-02", "hapt-05"]
    subject.value, activity.value = "hapt-02", "lying"
    rows = [row for _, row in moment.options]
    assert {hapt_windows[row]["subject"] for row in rows} == {"hapt-02"}
    assert {hapt_windows[row]["activity"] for row in rows} == {"lying"}
    assert len(drawn) >= 1
    np.testing.assert_array_equal(drawn[-1], signals.to_array(hapt_windows)[moment.value])


def test_a_report_is_drawn_with_its_intervals(report):
    ax = report.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["lazy", "silent", "right"]
    assert "macro-F1" in ax.get_xlabel()


def test_a_loss_curve_and_a_map_have_labels():
    ax = plots.loss([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    assert ax.get_xlabel() == "training step"
    ax = plots.embedding_map(np.zeros((4, 2)), ["walking", "sitting", "walking", "lying"])
    assert ax.get_legend_handles_labels()[1] == ["walking", "sitting", "lying"]  # in the order of the vocabulary


def test_a_proof_shows_what_holds_what_does_not_and_what_nobody_can_tell(walk):
    text = "A woman hurries home. The cadence is 4000 steps per second, axis x points up, and the value is 3 m/s²."
    claims = verification.verify(text, walk)
    figure = plots.proof(walk, text, claims)
    titles = " ".join(ax.get_title(loc="left") for ax in figure.axes)
    assert "points up” ✓" in titles
    assert "4000 steps per second ✗" in titles
    assert all(ax.get_ylabel() for ax in figure.axes[1:])


# --- widgets ------------------------------------------------------------------------------------------------------


def test_a_person_can_be_looked_at_alone(report):
    one = widgets.of_subject(report, "hapt-04")
    assert one.true == report.true[12:]
    assert {len(system.predicted) for system in one.systems} == {12}
    assert one.confusion("lazy")[0].sum() == 12
    assert widgets.of_subject(report, widgets.EVERYBODY) is report


def test_the_shaded_steps_lie_inside_the_window_and_last_as_long_as_measured(walk):
    facts = captions.measure(walk)
    for steps in (1, 2):
        ((start, end),) = widgets.shade(facts, steps)
        assert 0 <= start < end <= 6
        assert end - start == pytest.approx(steps / facts["cadence"].value)


def test_where_nobody_steps_the_impact_is_shaded(hapt_windows):
    row = list(hapt_windows["activity"]).index("lying")
    facts = captions.measure(signals.to_array(hapt_windows.select([row]))[0])
    assert widgets.shade(facts) == [facts["impact"].interval]


def test_choosing_a_person_draws_that_person(report, monkeypatch):
    drawn = []
    monkeypatch.setattr(widgets.plots, "confusion", lambda report, system, ax: drawn.append((len(report.true), system)))
    control = widgets.confusion(report)
    system, subject = control.children[0].children
    system.value = "lazy"
    subject.value = "hapt-02"
    assert drawn == [(24, "right"), (24, "lazy"), (12, "lazy")]


def test_shares_hold_a_bar_for_every_activity_also_for_one_that_has_no_colour():
    ax = plots.shares([0.7, 0.3], ["walking", "keeping still"])
    assert [bar.get_width() for bar in ax.patches] == [0.7, 0.3]


def test_a_click_asks_about_the_chosen_window(tiny_llasa, hapt_windows, monkeypatch, capsys):
    asked = []

    def answer(model, processor, session, question, activities):
        asked.append((session.imu, question, list(session.placement)))
        return [asking.Reply(0, 6, session.imu[0], "An answer.", "Evidence.", dict.fromkeys(activities, 1 / 6))]

    monkeypatch.setattr(widgets.asking, "ask_windows", answer)
    windows = hapt_windows.select(range(4))
    control = widgets.ask(*tiny_llasa, windows)
    row, line, _ = control.children
    row.value, line.children[0].value = 3, "Why?"
    line.children[1].click()
    np.testing.assert_array_equal(asked[-1][0], signals.to_array(windows)[3:4])
    assert asked[-1][1:] == ("Why?", ["waist"])
    assert "An answer." in capsys.readouterr().out


# --- the first line of every chapter ------------------------------------------------------------------------------


def test_a_chapter_begins_with_the_same_seeds_and_says_what_it_is(capsys, monkeypatch, tmp_path):
    import torch

    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    drawn = []
    for _ in range(2):
        assert notebook.setup("smoke").profile.name == "smoke"
        drawn.append((torch.rand(1).item(), np.random.random()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    out = capsys.readouterr().out
    assert "profile smoke" in out
    assert "no number below means anything" in out


def test_the_stranger_is_the_same_walking_test_window_in_every_chapter(smoke_run):
    splits, corpus = smoke_run.prepare(), smoke_run.caption()
    one, other = notebook.stranger(splits), notebook.stranger(corpus)
    assert one["imu"].shape == (120, 6)
    np.testing.assert_array_equal(one["imu"], other["imu"])
    assert (one["activity"], one["subject"]) == ("walking", "hapt-02")
    assert one["subject"] not in splits["train"]["subject"]
    np.testing.assert_array_equal(signals.to_array(splits["test"])[one["row"]], one["imu"])
