"""Language models as writers: asked over real HTTP, checked against the samples, and never paid for twice."""

import base64
import email.utils
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import damage
import numpy as np
import pytest
import requests
import serving
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import captions, language_models, writers
from llasa_lib.errors import ArtifactError, RecordingError, WriterError
from llasa_lib.pipeline import Pipeline
from llasa_lib.writers import checking, prompts
from llasa_lib.writers.journal import Journal

KEY = "sk-secret-of-the-tests"
GRAVITY = re.compile(r"\b([xyz])\b[^,\n]* (\S+) m/s²")  # in the first line of facts
INTENSITY = re.compile(r"from 0 to 2 s acceleration varies by (\S+) m/s²")


@pytest.fixture(scope="module")
def windows(hapt_windows):
    """Six windows of different activities."""
    activities = list(hapt_windows["activity"])
    return hapt_windows.select([activities.index(name) for name in dict.fromkeys(activities)])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("LLASA_WRITER_MODEL", "scripted")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def true_sentences(prompt):
    """Two sentences that the facts in a prompt prove."""
    axis, value = GRAVITY.search(prompt).groups()
    spread = INTENSITY.search(prompt)[1]
    return [f"Gravity lies along {axis} at {value} m/s².", f"From 0 to 2 s acceleration varies by {spread} m/s²."]


def false_sentence(prompt):
    axis = GRAVITY.search(prompt)[1]
    return f"Gravity lies along {'xyzx'['xyz'.index(axis) + 1]}."


def truthful(messages):
    return " ".join(true_sentences(messages[0]["content"]))


@pytest.fixture
def model():
    """A scripted model that tells the truth; ``model.answer`` may be replaced."""
    with serving.running(serving.Model, key=KEY, answer=truthful) as server:
        yield server


def connect(server, **options):
    return writers.Server(base_url=server.url, **{"backoff": 0.001, "timeout": 30, **options})


def lines(journal):
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_true_text_is_kept_word_for_word_in_the_order_of_the_windows(model, windows, tmp_path):
    written = writers.write(windows, tmp_path / "journal.jsonl", connect(model), concurrency=4)
    told = [" ".join(true_sentences(task.prompt)) for task in prompts.plan(windows, "caption")]
    assert written.outputs == told
    assert len(set(told)) == len(windows)
    counts = written.counts
    assert (counts["written"], counts["repaired"], counts["dropped"], counts["contradicted"]) == (6, 0, 0, 0)
    assert counts["supported"] >= 12
    assert counts["prompt tokens"] == 6 * 300
    assert written.requests == len(model.requests) == 6


def test_a_false_claim_is_sent_back_with_what_the_samples_say_and_repaired(model, windows, tmp_path):
    def wrong_at_first(messages):
        prompt = messages[0]["content"]
        return truthful(messages) if len(messages) == 3 else f"{true_sentences(prompt)[1]} {false_sentence(prompt)}"

    model.answer = wrong_at_first
    written = writers.write(windows.select([0]), tmp_path / "journal.jsonl", connect(model))
    told = model.requests[1]["messages"][2]["content"]
    truth = captions.measure(np.asarray(windows[0]["imu"]))["gravity"].axis
    assert false_sentence(model.requests[0]["messages"][0]["content"]) in told
    assert f"measured: {truth})" in told
    assert written.outputs == [truthful(model.requests[0]["messages"])]
    assert written.counts["repaired"] == 1
    assert written.lines[0]["false"][0]["measured"] == truth
    assert false_sentence(model.requests[0]["messages"][0]["content"]) in written.lines[0]["draft"]


def test_what_stays_false_is_dropped_and_the_rest_is_kept(model, windows, tmp_path):
    model.answer = lambda messages: f"{truthful(messages)} {false_sentence(messages[0]['content'])}"
    written = writers.write(windows, tmp_path / "journal.jsonl", connect(model))
    assert written.outputs == [" ".join(true_sentences(task.prompt)) for task in prompts.plan(windows, "caption")]
    assert written.counts["dropped"] == len(windows)
    assert written.counts["contradicted"] == 0
    assert written.requests == 2 * len(windows)


def test_a_repair_that_says_less_than_the_draft_does_not_replace_it(model, windows, tmp_path):
    model.answer = lambda messages: (
        "Sorry." if len(messages) == 3 else f"{truthful(messages)} {false_sentence(messages[0]['content'])}"
    )
    written = writers.write(windows.select([0]), tmp_path / "journal.jsonl", connect(model))
    assert written.outputs == [truthful(model.requests[0]["messages"])]
    assert written.counts["repaired"] == 0


def test_a_text_with_nothing_true_in_it_is_unusable_and_the_others_are_not(model, windows, tmp_path):
    first = prompts.plan(windows, "caption")[0].prompt
    model.answer = lambda messages: false_sentence(first) if messages[0]["content"] == first else truthful(messages)
    written = writers.write(windows, tmp_path / "journal.jsonl", connect(model), concurrency=1)
    assert [output is None for output in written.outputs] == [True] + [False] * 5
    assert written.counts["unusable"] == 1
    assert "support nothing" in written.lines[0]["problem"]
    assert "unusable: the samples support nothing that it says (1 times)" in str(written)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nothing_contradicted_is_left_in_any_mixture_of_true_and_false_sentences(hapt_windows, data):
    mine, other = (np.asarray(hapt_windows[n]["imu"]) for n in data.draw(st.tuples(*[st.integers(0, 190)] * 2)))
    said = [c for facts in captions.measure_all([mine, other]) for v in captions.phrases(facts).values() for c in v]
    chosen = data.draw(st.lists(st.sampled_from(said), min_size=1, max_size=12))
    units = [f"{clause[0].upper()}{clause[1:]}." for clause in chosen]
    kept = checking.drop_contradicted(units, mine)
    assert checking.count(kept, mine)["contradicted"] == 0
    assert set(kept) <= set(units)


def test_an_answer_that_ran_into_its_limit_loses_its_last_half_sentence(model, windows, tmp_path):
    model.answer = lambda messages: f"{truthful(messages)} The rest of it is ..."
    written = writers.write(windows.select([0]), tmp_path / "journal.jsonl", connect(model))
    assert written.outputs == [truthful(model.requests[0]["messages"])]


def test_questions_are_read_from_json_in_a_fence_and_false_or_leaking_pairs_go(model, windows, tmp_path):
    def pairs(messages):
        true, _ = true_sentences(messages[0]["content"])
        made = [
            {"question": "Which axis carries gravity?", "answer": true},
            {"question": "Which axis points to the ground?", "answer": false_sentence(messages[0]["content"])},
            {"question": "Why is this walking?", "answer": true},
        ]
        return f"Here they are:\n```json\n{json.dumps(made)}\n```"

    model.answer = pairs
    written = writers.write(windows, tmp_path / "journal.jsonl", connect(model), "questions")
    assert [[pair["question"] for pair in output] for output in written.outputs] == [
        ["Which axis carries gravity?"]
    ] * 6
    assert written.counts["dropped"] == 6


@pytest.mark.parametrize("labels", [True, False])
def test_the_writer_learns_the_activity_only_if_it_is_to(windows, labels):
    for task, activity in zip(prompts.plan(windows, "narration", labels), windows["activity"], strict=True):
        assert (f"The person is {activity}." in task.prompt) == labels


# --- faults that pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["429", "500", "reset", "half", "half json", "timeout"])
def test_a_fault_that_passes_costs_no_window(model, windows, tmp_path, fault):
    with serving.proxy(model.url, [fault, None, fault, fault]) as between:
        server = connect(between, timeout=1 if fault == "timeout" else 30, attempts=9)
        written = writers.write(windows, tmp_path / "journal.jsonl", server, concurrency=2)
    assert written.outputs == [" ".join(true_sentences(task.prompt)) for task in prompts.plan(windows, "caption")]
    assert between.requests.count(fault) == 3
    assert written.retries >= 3


def test_retry_after_is_obeyed(model, windows, tmp_path):
    with serving.proxy(model.url, ["429"], retry_after="0.6") as between:
        before = time.monotonic()
        writers.write(windows.select([0]), tmp_path / "journal.jsonl", connect(between))
        assert time.monotonic() - before >= 0.6


def test_a_server_that_wants_to_be_left_alone_until_tomorrow_is_not_waited_for(model, windows, tmp_path):
    tomorrow = email.utils.formatdate(time.time() + 86400, usegmt=True)
    with serving.proxy(model.url, ["429"], retry_after=tomorrow) as between:
        with pytest.raises(WriterError, match=r"429.*later to go on"):
            writers.write(windows.select([0]), tmp_path / "journal.jsonl", connect(between))
        assert between.requests == ["429"]


def test_no_more_requests_than_allowed_are_under_way(model, hapt_windows, tmp_path):
    lock, both, now, most = threading.Lock(), threading.Barrier(3), [0], [0]

    def slowly(messages):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        both.wait(30)  # three have to be there at once for any to be answered
        with lock:
            now[0] -= 1
        return truthful(messages)

    model.answer = slowly
    writers.write(hapt_windows.select(range(9)), tmp_path / "journal.jsonl", connect(model), concurrency=3)
    assert most == [3]


# --- faults that stay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("429", "takes no more requests.*'slow down'.*later"),
        ("quota", "quota is used up.*'no money'"),
        ("500", r"out of order \(500\) in 3 attempts.*later"),
        ("400", r"refuses the request \(400\).*the key"),
        ("reset", "cannot be reached in 3 attempts.*OPENAI_BASE_URL"),
        ("half json", "half an answer in 3 attempts"),
        ("other", "not as an OpenAI-compatible server.*/v1"),
    ],
)
def test_a_fault_that_stays_ends_in_one_sentence_that_never_holds_the_key(model, windows, tmp_path, fault, says):
    with serving.proxy(model.url, [fault] * 50) as between:
        with pytest.raises(WriterError, match=says) as caught:
            writers.write(windows, tmp_path / "journal.jsonl", connect(between, attempts=3))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert lines(tmp_path / "journal.jsonl") == []


HEAD = b"HTTP/1.1 200 OK\r\n"
JSON = HEAD + b"Content-Type: application/json\r\n"
LONG = JSON + b"Content-Length: 9999\r\n\r\n"
FAILED = b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n"
DRIPS = {"no line": (), "headers": (HEAD, b"X-A: "), "body": (LONG,), "json": (LONG, b' {"a": "'), "error": (FAILED,)}


@pytest.mark.parametrize("form", DRIPS)
def test_a_server_that_sends_a_byte_now_and_then_is_given_up_in_time(model, form, alarm):
    with serving.proxy(model.url, [serving.drip(*DRIPS[form])] * 2) as between:
        with pytest.raises(WriterError, match=r"did not answer within 0\.5 s in 2 attempts"):
            connect(between, timeout=0.5, attempts=2).ask([{"role": "user", "content": "?"}], 10)
        answer = connect(between).ask(
            [{"role": "user", "content": "- z 9.8 m/s²\nfrom 0 to 2 s acceleration varies by 1 m/s²"}], 10
        )
        assert answer.text, "and the next request is answered"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_without_end_is_cut_off(model, status, announced):
    def flood(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header(*(("Content-Length", "9" * 12) if announced else ("X-Length", "none")))
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" " * (1 << 20))
            sent.append(1)

    sent = []
    with serving.proxy(model.url, [flood] * 9) as between, pytest.raises(WriterError, match="more than 4 MiB"):
        connect(between, attempts=9).ask([{"role": "user", "content": "?"}], 10)
    assert len(sent) < 100


def completion(content='"Hm."', **more):
    fields = {"choices": f'[{{"message": {{"role": "assistant", "content": {content}}}}}]'} | more
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}").encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        completion(more='{"a": ' * 50_000 + "1" + "}" * 50_000),
        completion(created="9" * 5000, usage='{"prompt_tokens": ' + "9" * 5000 + "}"),
        completion(r'"\ud800"'),
        completion("3"),
        completion('["a", {}]'),
        completion(choices="[]"),
        completion(choices="[3]"),
        completion(choices='{"0": 1}'),
        b"null",
        b"\xff\xfe",
        b"",
        b'"text"',
    ],
)
def test_an_answer_of_any_other_form_ends_in_a_sentence_or_is_passed_over(model, body):
    reply = lambda handler: handler.reply(200, body)
    with serving.proxy(model.url, [reply] * 2) as between:
        try:
            said = connect(between, attempts=2).ask([{"role": "user", "content": "?"}], 10).text
        except WriterError as error:
            said = str(error)
    assert re.search(r"not as an OpenAI-compatible server|half an answer|^Hm\.$", said)


def test_a_text_that_ran_past_its_limit_is_cut(model):
    reply = lambda handler: handler.reply(200, completion(json.dumps("so " * 500_000)))
    with serving.proxy(model.url, [reply]) as between:
        answer = connect(between).ask([{"role": "user", "content": "?"}], 10)
    assert (len(answer.text), answer.cut) == (400, True)


def test_a_packed_answer_is_refused_before_it_is_unpacked(model):
    packed = gzip.compress(b" " * (64 << 20))
    reply = lambda handler: handler.reply(200, packed, Content_Encoding="gzip")
    with serving.proxy(model.url, [reply]) as between, pytest.raises(WriterError, match="packs its answers"):
        connect(between).ask([{"role": "user", "content": "?"}], 10)


@pytest.mark.parametrize("after", ["soon", "nan", "-1e999", "Mon, 99 Feb 99999 99:99:99 +9999", "\u00e9"])
def test_a_pause_that_cannot_be_read_is_none(model, windows, tmp_path, after):
    with serving.proxy(model.url, ["429"], retry_after=after) as between:
        assert writers.write(windows.select([0]), tmp_path / "j.jsonl", connect(between)).counts["written"] == 1


PASSWORD = "hunter2-of-the-tests"


@pytest.mark.parametrize("status", [200, 400, 429])
def test_key_and_password_that_a_server_echoes_reach_no_message_and_no_journal(model, windows, tmp_path, status):
    def echo(handler):
        told = f"{'x' * 190} {handler.headers['Authorization']} {PASSWORD} {secret}"
        content = completion(json.dumps(told)) if status == 200 else {"error": {"message": told}}
        handler.reply(status, content, Retry_After="999")

    secret = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    journal = tmp_path / "journal.jsonl"
    with serving.proxy(model.url, [echo] * 99) as between:
        server = writers.Server(base_url=between.url.replace("//", f"//me:{PASSWORD}@"), timeout=30, backoff=0.001)
        try:
            said = str(writers.write(windows, journal, server, concurrency=1))
        except WriterError as error:
            said = str(error)
    said += journal.read_text(encoding="utf-8")
    assert status != 200 or "(the key)" in said
    for hidden in (KEY, KEY[:8], PASSWORD, PASSWORD[:7], secret):
        assert hidden not in said


@pytest.mark.parametrize(
    "url", [f"htp://me:{PASSWORD}@host/v1", f"me:{PASSWORD}@host", f"http://me:{PASSWORD}@host:x/"]
)
def test_an_address_that_is_none_is_shown_without_its_password(url):
    with pytest.raises(WriterError, match="is no address") as caught:
        writers.Server(base_url=url)
    assert PASSWORD not in str(caught.value)


def test_a_wrong_key_and_an_unknown_model_are_told_apart(model, windows, tmp_path, monkeypatch):
    with pytest.raises(WriterError, match=r"does not know the model 'other'.*LLASA_WRITER_MODEL"):
        writers.write(windows, tmp_path / "journal.jsonl", connect(model, model="other"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with pytest.raises(WriterError, match=r"refuses the key \(401\).*OPENAI_API_KEY") as caught:
        writers.write(windows, tmp_path / "journal.jsonl", connect(model))
    assert "sk-another" not in str(caught.value)


def test_an_unreachable_server_is_named(windows, tmp_path):
    with serving.running(serving.Model) as gone:
        pass
    with pytest.raises(WriterError, match=r"127\.0\.0\.1:\d+ cannot be reached.*Is the server running"):
        writers.write(windows, tmp_path / "journal.jsonl", connect(gone, attempts=2))


@pytest.mark.parametrize(
    ("options", "changes", "says"),
    [
        ({}, {"OPENAI_API_KEY": ""}, "No server is named.*OPENAI_BASE_URL"),
        ({}, {"LLASA_WRITER_MODEL": ""}, "No model is named.*LLASA_WRITER_MODEL"),
        ({"base_url": "localhost:8000"}, {}, "'localhost:8000' is no address.*http://"),
        ({"base_url": "http://localhost:port/v1"}, {}, "is no address"),
        ({}, {"OPENAI_API_KEY": "ключ"}, "OPENAI_API_KEY holds characters"),
    ],
)
def test_what_is_not_set_is_named_before_anything_is_sent(monkeypatch, options, changes, says):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WriterError, match=says):
        writers.Server(**options)


@pytest.mark.parametrize(
    ("kind", "answer", "says"),
    [
        ("caption", "  ", "the answer is empty"),
        ("questions", '[{"question": "Which axis', "no JSON list"),
        ("questions", "I cannot do that.", "no JSON list"),
        ("caption", "Somebody moves.", "support nothing"),
        ("caption", "No end in sight ...", "cut off in its first sentence"),
    ],
)
def test_a_model_that_cannot_do_it_is_not_paid_for_the_whole_corpus(model, hapt_windows, tmp_path, kind, answer, says):
    model.answer = lambda messages: answer
    with pytest.raises(WriterError, match=rf"none of \d+ answers of scripted can be used.*{says}.*larger model"):
        writers.write(hapt_windows, tmp_path / "journal.jsonl", connect(model), kind, concurrency=2)
    assert len(model.requests) <= 2 * (20 + 2)


def test_an_unusable_answer_is_asked_for_once_more(model, windows, tmp_path):
    model.answer = lambda messages: "" if len(model.requests) == 1 else truthful(messages)
    written = writers.write(windows, tmp_path / "journal.jsonl", connect(model), concurrency=1)
    assert written.counts["written"] == 6
    assert written.requests == 7


def test_a_window_that_cannot_be_measured_is_named_before_anything_is_sent(model, windows, tmp_path):
    broken = windows.select([0, 1]).map(lambda row, n: {"imu": np.asarray(row["imu"]) * (n == 0)}, with_indices=True)
    with pytest.raises(RecordingError, match="Window 1"):
        writers.write(broken, tmp_path / "journal.jsonl", connect(model))
    assert model.requests == []


def test_an_unknown_kind_and_a_broken_prompt_are_named(windows, tmp_path):
    with pytest.raises(WriterError, match=r"'poem' cannot be written.*caption, narration, questions"):
        writers.estimate(windows, "poem")
    with pytest.raises(WriterError, match=r"caption\.md is missing"):
        writers.estimate(windows, folder=tmp_path)
    (tmp_path / "caption.md").write_text("$facts and $more", encoding="utf-8")
    with pytest.raises(WriterError, match=r"unknown placeholder.*more.*\$facts"):
        writers.estimate(windows, folder=tmp_path)


# --- money ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [{"tokens": 0}, {"money": 0.0, "price": writers.Price(1, 2)}, {"money": -1.0}])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(WriterError, match="buys nothing, so nothing was sent"):
        writers.Budget(**budget)


def test_a_budget_of_money_needs_prices():
    with pytest.raises(WriterError, match="price of a million tokens"):
        writers.Budget(money=1.0)


@pytest.mark.parametrize("price", [(-1, 2), (1, -0.5), (float("nan"), 1), (1, float("inf"))])
def test_a_price_below_zero_or_without_a_value_is_refused(price):
    with pytest.raises(WriterError, match="a million tokens cannot cost"):
        writers.Price(*price)


def test_a_budget_of_money_where_nothing_costs_any_is_refused():
    with pytest.raises(WriterError, match="holds nothing back"):
        writers.Budget(money=1.0, price=writers.Price(0, 0))


FALSE_USAGE = [
    {"prompt_tokens": -(10**9), "completion_tokens": -(10**9)},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": 1, "completion_tokens": 1},
    {"prompt_tokens": 10**15, "completion_tokens": 10**15},
    {"prompt_tokens": "300", "completion_tokens": None},
    {"prompt_tokens": True, "completion_tokens": 1.5},
    [300, 40],
    None,
]


@pytest.mark.parametrize("usage", FALSE_USAGE)
def test_no_number_that_a_server_reports_gets_round_the_budget(model, hapt_windows, tmp_path, usage):
    model.usage, journal = usage, tmp_path / "journal.jsonl"
    run = lambda: writers.write(hapt_windows.select(range(9)), journal, connect(model), budget=writers.Budget(2000))
    assert "budget" in run().stopped
    assert 1 <= len(model.requests) <= 4
    spent = [line["prompt_tokens"] + line["answer_tokens"] for line in lines(journal)]
    assert all(300 < tokens < 3000 for tokens in spent)
    before = len(model.requests)
    run()
    assert len(model.requests) - before <= 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_budget_stops_before_it_is_exceeded_counts_what_was_spent_before_and_can_be_raised(
    model, hapt_windows, tmp_path, concurrency
):
    chosen, journal = hapt_windows.select(range(10)), tmp_path / "journal.jsonl"
    run = lambda tokens: writers.write(
        chosen, journal, connect(model), budget=writers.Budget(tokens), concurrency=concurrency
    )
    first = run(3000)  # an answer costs 340, and three times as much is set aside while it is under way
    assert "budget" in first.stopped
    assert 0 < first.counts["written"] < 10
    assert first.counts["missing"] == 10 - first.counts["written"]
    assert sum(line["prompt_tokens"] + line["answer_tokens"] for line in lines(journal)) <= 3000
    assert run(300).requests == 0
    assert run(100_000).counts["written"] == 10
    assert len(model.requests) == 10


def test_an_estimate_is_not_below_what_the_tokenizer_counts(windows):
    tokenizer = language_models.load_tokenizer()
    for kind in writers.KINDS:
        truth = sum(len(tokenizer(task.prompt)["input_ids"]) for task in prompts.plan(windows, kind))
        estimate = writers.estimate(windows, kind, writers.Price(prompt=2.0, answer=10.0))
        assert truth <= estimate.prompt_tokens <= 1.4 * truth
        assert estimate.requests == 6
        assert estimate.money == pytest.approx((2 * estimate.prompt_tokens + 10 * estimate.answer_tokens) / 1e6)


# --- the journal ------------------------------------------------------------------------------------------------------


def test_what_is_written_is_not_asked_for_again_and_reads_the_same(model, windows, tmp_path):
    journal = tmp_path / "journal.jsonl"
    first = writers.write(windows, journal, connect(model))
    again = writers.write(windows, journal, connect(model))
    assert len(model.requests) == 6
    assert (again.lines, again.counts, again.requests) == (first.lines, first.counts, 0)


def test_another_kind_label_prompt_or_model_is_asked_for(model, windows, tmp_path):
    journal, one = tmp_path / "journal.jsonl", windows.select([0])
    for name in (*prompts.KINDS, "repair"):
        text = prompts.load(name).template
        (tmp_path / f"{name}.md").write_text(f"{text}\nThink first." if name == "caption" else text, encoding="utf-8")
    for options in ({}, {"kind": "narration"}, {"labels": True}, {"folder": tmp_path}):
        assert writers.write(one, journal, connect(model), **options).requests == 1
    assert writers.write(one, journal, connect(model)).requests == 0
    assert len(lines(journal)) == 4


def test_a_window_that_is_there_twice_is_paid_for_once(model, windows, tmp_path):
    written = writers.write(windows.select([0, 0, 1]), tmp_path / "journal.jsonl", connect(model), concurrency=1)
    assert len(model.requests) == 2
    assert written.outputs[0] == written.outputs[1] != written.outputs[2]


@pytest.mark.parametrize("cut", range(1, 400, 57))
@pytest.mark.filterwarnings("error")
def test_a_half_written_last_line_is_dropped_and_only_its_window_asked_for_again(model, windows, tmp_path, cut):
    journal = tmp_path / "journal.jsonl"
    writers.write(windows, journal, connect(model), concurrency=1)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    again = writers.write(windows, journal, connect(model))
    assert again.requests == (0 if cut == 1 else 1), "a line that only lacks its line break is whole"
    assert again.counts["written"] == 6
    assert journal.read_bytes() == whole


def test_a_journal_that_is_none_is_named_with_its_line_and_left_alone(model, windows, tmp_path):
    journal = tmp_path / "journal.jsonl"
    writers.write(windows, journal, connect(model))
    content = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join([*content[:2], "{}\n", *content[2:]]), encoding="utf-8")
    before = journal.read_bytes()
    with pytest.raises(ArtifactError, match="line 3, is not a line of a writer's journal"):
        writers.write(windows, journal, connect(model))
    assert journal.read_bytes() == before
    assert len(model.requests) == 6


FOREIGN = [
    b"my notes, without a line break",
    b"{",
    b'{"window": "kitchen", "side": "north"',
    b'{"name": "x", "version": "1.0"}',
    b"a,b\n1,2\n3,4",
    b"\x00\xff" * 50,
    b'{"window": "abc", "prompt": "b", "model": "c"}',
    b"[" * 100_000,
    b'{"window": ' + b"9" * 5000,
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_a_file_that_is_no_journal_is_left_byte_for_byte(model, windows, tmp_path, content):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"line \d, is not a line of a writer's journal"):
        writers.write(windows, journal, connect(model))
    assert journal.read_bytes() == content
    assert model.requests == []


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_tokens": -(10**9)},
        {"answer_tokens": 1e300},
        {"requests": True},
        {"claims": {"supported": "many"}},
        {"claims": None},
        {"output": 3},
        {"output": [{"question": "?"}]},
        {"window": None},
        {"model": ["scripted"]},
        {"kept": None},
        {"draft": "\ud800"},
    ],
)
def test_a_line_of_another_form_is_named_and_nothing_is_lost(model, windows, tmp_path, change):
    journal = tmp_path / "journal.jsonl"
    writers.write(windows.select([0, 1]), journal, connect(model))
    first, second = lines(journal)
    before = "".join(json.dumps(line) + "\n" for line in (first, second | change)).encode() + b'{"window": "0'
    journal.write_bytes(before)
    with pytest.raises(ArtifactError, match="line 2, is not a line"):
        writers.write(windows, journal, connect(model))
    assert journal.read_bytes() == before


def test_no_damage_to_a_journal_ends_in_anything_but_a_sentence_and_nothing_whole_is_lost(model, windows, tmp_path):
    journal = tmp_path / "journal.jsonl"
    writers.write(windows.select([0, 1, 2]), journal, connect(model))
    content = journal.read_bytes()
    for mutation in damage.mutations(content, 300):
        journal.write_bytes(mutation)
        try:
            with Journal(journal):
                pass
        except ArtifactError:
            assert journal.read_bytes() == mutation
        else:
            kept = journal.read_bytes().removesuffix(b"\n")
            assert mutation.startswith(kept)
            assert b"\n" not in mutation[len(kept) + 1 :].removesuffix(b"\n"), "at most the last line is gone"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_journal_that_is_no_file_is_refused_at_once(model, windows, tmp_path, kind):
    journal = tmp_path / "journal"
    journal.mkdir() if kind == "folder" else os.mkfifo(journal)
    with pytest.raises(ArtifactError, match="is no file"):
        writers.write(windows, journal, connect(model))


def test_two_runs_do_not_share_a_journal(model, windows, tmp_path):
    journal = tmp_path / "journal.jsonl"

    def meanwhile(messages):
        with pytest.raises(WriterError, match="another run is writing"):
            writers.write(windows, journal, connect(model))
        return truthful(messages)

    model.answer = meanwhile
    assert writers.write(windows.select([0]), journal, connect(model)).counts["written"] == 1


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which the first stage of the smoke profile is made."""
    folder = tmp_path_factory.mktemp("home")
    Pipeline("smoke", folder=folder / "artifacts" / "smoke").prepare()
    return folder


def test_the_command_estimates_writes_and_stops_at_its_budget(command, model, home, monkeypatch, tmp_path):
    monkeypatch.setenv("LLASA_HOME", str(home))
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    write = lambda *options: command(
        "write", tmp_path / "journal.jsonl", "--profile", "smoke", "--windows", 3, *options
    )
    code, out, _ = write("--estimate", "--prices", 1, 2)
    assert code == 0
    assert "3 requests" in out
    assert model.requests == []
    code, out, err = write("--prices", 1, 2, "--budget", 0.0012, "--concurrency", 1)
    assert code == 0, err
    assert "stopped: the budget" in out
    code, out, err = write()
    assert code == 0, err
    assert "3 of 3 windows written" in out
    assert len(model.requests) == 3
    code, out, err = write("--budget", 0)
    assert code == 2
    assert "nothing was sent" in err


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(command, model, home, monkeypatch, tmp_path):
    journal, enough, killed = tmp_path / "journal.jsonl", threading.Event(), threading.Event()

    def until_the_tenth(messages):
        if len(model.requests) > 10:
            enough.set()
            killed.wait(120)
        return truthful(messages)

    model.answer = until_the_tenth
    monkeypatch.setenv("LLASA_HOME", str(home))
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    options = ["write", str(journal), "--profile", "smoke", "--windows", "24", "--concurrency", "2"]
    process = subprocess.Popen([sys.executable, "-m", "llasa_lib", *options], stdout=subprocess.PIPE)
    try:
        assert enough.wait(120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kept = len(lines(journal))
    assert 8 <= kept <= 10
    killed.set()
    model.answer = truthful
    code, out, err = command(*options)
    assert code == 0, err
    assert "24 of 24 windows written" in out
    assert len({line["window"] for line in lines(journal)}) == len(lines(journal)) == 24
    assert 24 <= len(model.requests) <= 24 + 2, "only what was under way is asked for again"


# --- a real language model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """SmolLM2-135M behind ``transformers serve``: gives address and model name."""
    folder = tmp_path_factory.mktemp("smollm2")
    for part in ("model", "tokenizer"):
        for file in Path(language_models._from_package(part)).glob("[!.]*"):
            (folder / file.name).symlink_to(file)
    with serving.running(serving.Model) as free:
        port = free.server_port
    command = ["transformers", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command[0] = str(Path(sys.executable).with_name(command[0]))
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=out, stderr=out)
    try:
        while not healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait()


def healthy(url):
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.language_model
def test_a_real_model_writes_through_a_bad_connection_and_nothing_false_is_kept(
    smollm2, windows, tmp_path, monkeypatch
):
    url, name = smollm2
    monkeypatch.setitem(prompts.LONGEST, "caption", 24)  # two seconds of a small processor
    journal, one = tmp_path / "journal.jsonl", windows.select([0])
    with serving.proxy(url, ["429", "reset", "half", "500"]) as between:
        server = connect(between, model=name, temperature=0.0, timeout=300)
        written = writers.write(one, journal, server)
    assert server.retries == 4
    (line,) = lines(journal)
    assert line["draft"]
    assert line["prompt_tokens"] > 200
    assert 0 < line["answer_tokens"] <= 24 * line["requests"]
    assert (line["output"] is None) == (line["problem"] is not None)
    window = np.asarray(windows[0]["imu"])
    assert all(claim.verdict != "contradicted" for _, claim in checking.claims([line["output"] or ""], window))
    assert written.counts["missing"] == 0
    with pytest.raises(WriterError, match=r"refuses the request.*pinned"):
        writers.write(one, journal, writers.Server("another", url))
