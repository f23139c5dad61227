"""Corpora as chats: published ones are read whatever their dialect, ours come back as they went out."""

import json
import re

import damage
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import DatasetDict, load_dataset
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import corpora, questions, signals
from llasa_lib.corpora import reading
from llasa_lib.errors import ArtifactError, DataError

SIGNAL = str(np.random.default_rng(0).normal(0, 5, (120, 3)).round(3).tolist())
CAPTION = "Strong periodic motion along the vertical axis."
NARRATION = "First the signal rises. Then it falls, and repeats twice a second."


def chat(*turns, names=("messages", "role", "content"), roles=("user", "assistant"), **more):
    messages, role, content = names
    return {messages: [{role: roles[n % 2], content: text} for n, text in enumerate(turns)], **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("messages", "role", "content"), ("conversations", "from", "value")])
@pytest.mark.parametrize("roles", [("user", "assistant"), ("human", "gpt")])
def test_chats_of_several_turns_are_read_in_the_usual_dialects(tmp_path, names, roles):
    row = chat(f"{SIGNAL}\nWhich axis moves most?", "The z axis.", "And when?", "At 2 s.", names=names, roles=roles)
    found = corpora.read_chat(write(tmp_path / "chats.jsonl", [row, row]), "opensqa")
    assert (found.rows, found.parsed, found.rate, found.failures) == (2, 2, 1.0, [])
    assert found.pairs["question"][:2] == ["Which axis moves most?", "And when?"]
    assert found.pairs["answer"][:2] == ["The z axis.", "At 2 s."]
    assert found.pairs["line"][:] == [1, 1, 2, 2]
    assert set(found.pairs["source"]) == {"opensqa"}
    assert found.pairs.column_names == list(corpora.COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"caption": CAPTION, "narration": NARRATION}),
        f"```json\n{json.dumps({'Summary': CAPTION, 'Narration': NARRATION}, indent=1)}\n```",
        f"Caption: {CAPTION}\nNarration: {NARRATION}",
        f"**Summary:**\n{CAPTION}\n\n**Narration:**\n{NARRATION}",
        f"{CAPTION}\n\n{NARRATION}",
    ],
)
def test_a_description_is_taken_apart_into_caption_and_narration(text):
    asked = f"Accelerometer: {SIGNAL}\nGyroscope: {SIGNAL}\nActivity: climbing stairs\nDescribe the signals."
    (row,) = corpora.read_chat([chat(asked, text)]).pairs
    assert (row["caption"], row["narration"]) == (CAPTION, NARRATION)
    assert row["kind"] == corpora.DESCRIPTION
    assert row["activity"] == "climbing stairs"
    assert "Describe the signals." in row["question"]
    assert "0." not in row["question"], "the samples do not belong to the question"


@pytest.mark.parametrize(
    "text",
    [
        '[{"question": "How fast?", "answer": "Two steps/s."}, {"question": "How far?", "answer": "Nobody knows."}]',
        '{"qa": [{"Q": "How fast?", "A": "Two steps/s."}, {"Q": "How far?", "A": "Nobody knows."}]}',
        'Sure:\n```json\n[{"Question": "How fast?", "Answer": "Two steps/s."},\n'
        '{"Question": "How far?", "Answer": "Nobody knows."}]\n```',
        "Q1: How fast?\nA1: Two steps/s.\n\nQ2: How far?\nA2: Nobody knows.",
        "**Question 1:** How fast?\n**Answer:** Two steps/s.\n**Question 2:** How far?\n**Answer:** Nobody knows.",
        "1. Question: How fast?\n   Answer: Two steps/s.\n2. Question: How far?\n   Answer: Nobody knows.",
    ],
)
def test_a_list_of_questions_is_read_from_json_and_from_text(text):
    found = corpora.read_chat([chat(f"{SIGNAL} Narration: {NARRATION} Write questions.", text)])
    assert [(row["question"], row["answer"]) for row in found.pairs] == [
        ("How fast?", "Two steps/s."),
        ("How far?", "Nobody knows."),
    ]
    assert set(found.pairs["kind"]) == {"open"}


def test_a_list_that_was_cut_off_gives_the_pairs_that_are_whole():
    text = '[{"question": "How fast?", "answer": "Two steps/s."}, {"question": "How f'
    assert corpora.read_pairs(text) == [{"question": "How fast?", "answer": "Two steps/s."}]


@pytest.mark.parametrize("text", ["", "No.", "Question", "[1, 2]", '{"question": 3, "answer": "x"}', "Q: one\nQ: two"])
def test_a_text_without_pairs_has_none(text):
    assert corpora.read_pairs(text) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"messages": [', "not JSON: .* at character"),
        (b"\xff\xfe", "not UTF-8"),
        (b"3", "a int instead of an object"),
        (b'{"text": "x"}', "no list of messages or conversations; there is text"),
        (b'{"messages": []}', "no list of messages"),
        (b'{"messages": ["hello"]}', "message 1 is a str"),
        (b'{"messages": [{"role": "user"}]}', "message 1 lacks a role or a text"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "an answer without a question"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "no answer of an assistant"),
        (rb'{"messages": [{"role": "user", "content": "x?"}, {"role": "gpt", "content": "\ud800"}]}', "surrogates"),
        (b"[" * 100_000, "recursion"),
        (b'{"messages": ' + b'[{"a": ' * 100_000, "recursion"),
        (b'{"messages": [], "line": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"' + b"k" * 500 + b'": 1}', "there is k{60}$"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_the_reason_and_ends_nothing(tmp_path, line, reason):
    good = json.dumps(chat("How fast?", "Two steps/s.")).encode()
    path = tmp_path / "chats.jsonl"
    path.write_bytes(b"\n".join([good, b"", line, good]))
    found = corpora.read_chat(path)
    assert (found.rows, found.parsed, len(found.pairs)) == (3, 2, 2)
    assert found.rate == pytest.approx(2 / 3)
    (failure,) = found.failures
    assert failure.line == 3
    assert re.search(reason, failure.reason), failure.reason
    assert "2 of 3 rows read; 2 questions and answers, 2 of the 3 expected (66.7%)\nline 3: " in str(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "role",
                    "from",
                    "content",
                    "value",
                    "kinds",
                    "activity",
                    "text",
                    "caption",
                ]
            ),
            inner | st.sampled_from(["user", "assistant", "gpt", "Q: a?\nA: b.", '{"question": "a"}']),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(json_values, max_size=4))
def test_no_row_whatever_it_holds_ends_the_reading(rows):
    found = corpora.read_chat(rows)
    assert found.rows == len(rows) == found.parsed + len(found.failures)


def test_one_json_list_and_parquet_read_like_json_lines(tmp_path):
    rows = [chat("How fast?", "Two steps/s."), chat("How far?", "Nobody knows.")]
    expected = corpora.read_chat(write(tmp_path / "a.jsonl", rows)).pairs.to_list()
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    load_dataset("json", data_files=str(tmp_path / "a.jsonl"), split="train", cache_dir=tmp_path).to_parquet(
        tmp_path / "a.parquet"
    )
    for name in ("a.json", "a.parquet"):
        assert corpora.read_chat(tmp_path / name).pairs.to_list() == expected


def test_a_file_that_is_not_there_or_no_parquet_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        corpora.read_chat(tmp_path / "nowhere.jsonl")
    (tmp_path / "a.parquet").write_bytes(b"PAR")
    with pytest.raises(DataError, match=r"a\.parquet is not a parquet file"):
        corpora.read_chat(tmp_path / "a.parquet")


PAIRS = [("How fast?", "Two steps/s."), ("Why so fast?", "The peaks are 0.5 s apart."), ("How far?", "Nobody knows.")]
LISTS = {
    "numbered, Answer:": "{n}. {q}\nAnswer: {a}\n\n",
    "numbered, bullet": "{n}. {q}\n   - Answer: {a}\n\n",
    "numbered, bold bullet": "{n}. {q}\n   - **Answer:** {a}\n\n",
    "numbered, answer numbered too": "{n}. {q}\n{n}. **Answer:** {a}\n\n",
    "numbered, no label": "{n}. {q}\n- {a}\n\n",
    "numbered, blank line between": "{n}. {q}\n\nAnswer: {a}\n\n",
    "bold Q, no label": "**Q{n}:** {q}\n{a}\n\n",
    "bold question, same line": "{n}. **{q}** {a}\n",
    "with brackets": "{n}) {q}\nA{n}) {a}\n",
    "always 1": "1. {q}\n   Answer: {a}\n",
    "one paragraph": "Q{n}: {q} A{n}: {a} ",
    "headings": "### Question {n}\n{q}\n### Answer\n{a}\n\n",
    "dashes": "Question {n} - {q}\nAnswer - {a}\n",
}


def as_list(form):
    return "Here they are:\n\n" + "".join(LISTS[form].format(n=n, q=q, a=a) for n, (q, a) in enumerate(PAIRS, 1))


@pytest.mark.parametrize("form", LISTS)
def test_a_list_of_questions_is_read_however_a_model_wrote_it(form):
    asked = "Summary: climbing stairs\nFeatures: strong, periodic\nNarration: It rises and falls.\n\nGo on."
    row = chat("Please generate 3 detailed question-answer pairs.", asked, as_list(form), roles=("system", "user"))
    row["messages"][2]["role"] = "assistant"
    found = corpora.read_chat([row])
    assert [(pair["question"], pair["answer"]) for pair in found.pairs] == PAIRS
    assert (found.expected, found.rate, found.mismatches) == (3, 1.0, [])
    for pair in found.pairs:
        assert (pair["activity"], pair["caption"]) == ("climbing stairs", "strong, periodic")
        assert pair["narration"] == "It rises and falls."


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (
            "1. Describe it.\nAnswer: In steps:\n1. It rises.\n2. It falls.\n\n2. Why?\nAnswer: -6 m/s².",
            [("Describe it.", "In steps:\n1. It rises.\n2. It falls."), ("Why?", "-6 m/s².")],
        ),
        ("1. Which rate?\nA. 1 Hz\nB. 2 Hz\nAnswer: B", [("Which rate?\nA. 1 Hz\nB. 2 Hz", "B")]),
        ("1. How fast? Explain.\nAnswer: Two.", [("How fast? Explain.", "Two.")]),
        ("1. The signal rises.\n2. It falls.\n3. It rests.", []),
        ("1. How fast?\n2. How far?\n3. Why?", []),
        ("It read 2. What a day? Answer me.", []),
    ],
)
def test_lists_inside_an_answer_and_lists_of_other_things_are_no_questions(text, pairs):
    assert [(pair["question"], pair["answer"]) for pair in corpora.read_pairs(text)] == pairs


def asking(number, text):
    return chat(f"Summary: standing\nWrite {number} question-answer pairs.", text)


def test_the_rate_counts_pairs_and_rows_that_do_not_match_are_named():
    rows = [asking(3, as_list("numbered, no label")), asking("ten (10)", as_list("numbered, Answer:"))]
    rows += [asking(2, as_list("one paragraph")), asking(5, "1. The signal rises.\n2. It falls.")]
    found = corpora.read_chat(rows)
    assert (found.rows, found.parsed, found.expected, found.matching, len(found.pairs)) == (4, 3, 20, 8, 9)
    assert found.rate == 0.4
    assert [(one.line, one.reason) for one in found.mismatches] == [
        (2, "3 questions and answers instead of 10"),
        (3, "3 questions and answers instead of 2"),
    ]
    (failure,) = found.failures
    assert (failure.line, "none is in it, of 5" in failure.reason) == (4, True)
    assert "8 of the 20 expected (40.0%)" in str(found)
    assert set(found.pairs["activity"]) == {"standing"}


@pytest.mark.parametrize("prompt", ["Describe the signals.", "Give short answers to my questions. Now describe it."])
def test_a_prompt_that_asks_for_no_questions_may_be_answered_by_a_list(prompt):
    found = corpora.read_chat([chat(prompt, "1. The signal rises.\n2. It falls.")])
    assert (found.rate, found.failures, len(found.pairs)) == (1.0, [], 1)


def test_features_are_a_caption_and_a_summary_of_an_activity_is_none():
    text = "Features: strong, periodic. Narration: First it rises. Then it falls."
    (row,) = corpora.read_chat([chat("Summary: going upstairs\nDescribe it.", text)]).pairs
    assert (row["caption"], row["narration"]) == ("strong, periodic.", "First it rises. Then it falls.")
    assert row["activity"] == "climbing stairs"
    (row,) = corpora.read_chat([chat("Summary: Somebody gets up and walks.\nWhich axis?", "The z axis.")]).pairs
    assert (row["caption"], row["activity"]) == ("Somebody gets up and walks.", "")


def numpy_text(values):
    return ", ".join(f"array({row.tolist()}, dtype=float32)" for row in values)


@pytest.mark.parametrize("shape", ["lists", "arrays", "six columns", "half", "unnamed"])
def test_signals_are_cut_and_kept_as_the_window_where_they_are_whole(shape):
    window = np.random.default_rng(0).normal(0, 0.2, (120, 6)).round(4).astype(np.float32)
    window[:, 2] += 1  # g, as the published text has it
    acceleration, rotation = window[:, :3], window[:, 3:]
    signal = {
        "lists": f"Gyroscope: {rotation.tolist()}Accelerometer: {acceleration.tolist()}",
        "arrays": f"Accelerometer data: [{numpy_text(acceleration)}]\nGyroscope data: [{numpy_text(rotation)}]",
        "six columns": f"[{numpy_text(window)}]",
        "half": f"Gyroscope: {rotation[:60].tolist()}Accelerometer: {acceleration[:60].tolist()}",
        "unnamed": f"{rotation.tolist()} {acceleration[:100].tolist()}",
    }[shape]
    found = corpora.read_chat(
        [chat(f"<image>\nWhich axis moves most at 8.0 m/s²? {signal}", "The z axis.", "And when?", "Now.")]
    )
    assert list(found.pairs["question"]) == ["Which axis moves most at 8.0 m/s²?", "And when?"]
    if shape in ("half", "unnamed"):
        assert (found.windows, list(found.pairs["window"])) == ([], [-1, -1])
    else:
        assert list(found.pairs["window"]) == [0, 0]
        np.testing.assert_allclose(found.windows[0], window * ([9.80665] * 3 + [1] * 3), rtol=1e-5)


ODD = [
    " ",
    "[",
    "{",
    "\n",
    '{"a": ',
    '{"a": [1, ',
    "**",
    "- ",
    "1. ",
    "1. how?\n",
    "Q: ",
    "activity ",
    "gyro ",
    "write a b ",
    "1 ",
]
ODD += ["1e5", "Narration\n", "array(", "[[1, 2], ", "Answer", "#", "-"]


@pytest.mark.parametrize("piece", ODD)
def test_no_text_makes_the_reading_explode(piece, alarm):
    text = piece * ((300_000 if piece == "{" else 60_000) // len(piece))
    corpora.read_chat([chat(text, text), chat(f"activity {text}", f"Q: {text}"), chat("Write 3 questions.", text)])


def test_a_line_too_long_for_a_chat_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 1000)
    good = json.dumps(chat("How fast?", "Two steps/s.")).encode()
    path = tmp_path / "chats.jsonl"
    path.write_bytes(b"\n".join([good, b'"' * 5500, b"x" * 1000, good]))
    found = corpora.read_chat(path)
    assert (found.rows, found.parsed) == (4, 2)
    assert [(one.line, "longer than" in one.reason) for one in found.failures] == [(2, True), (3, True)]
    assert list(found.pairs["line"]) == [1, 4]


def test_no_damage_to_a_parquet_file_ends_in_anything_but_a_sentence(tmp_path):
    rows = pa.Table.from_pylist([chat("How fast?", "Two steps/s.") for _ in range(50)])
    pq.write_table(rows, whole := tmp_path / "whole.parquet")
    path, refused = tmp_path / "a.parquet", []
    for mutation in damage.mutations(whole.read_bytes(), 200):
        path.write_bytes(mutation)
        try:
            corpora.read_chat(path)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all("is not a parquet file" in said and "\n" not in said for said in refused)


def test_only_the_first_failures_are_kept_and_all_are_counted():
    found = corpora.read_chat([3] * 50)
    assert (found.rows, found.parsed, len(found.failures)) == (50, 0, 10)


@pytest.mark.parametrize("name", corpora.PUBLISHED)
def test_without_a_connection_a_published_corpus_ends_in_one_sentence(monkeypatch, tmp_path, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"BASH-Lab/\w+ could not be fetched.*connection.*read_chat") as caught:
        corpora.load(name)
    assert "\n" not in str(caught.value)


def test_an_unknown_corpus_is_named():
    with pytest.raises(DataError, match="'wikipedia' is not a published corpus known here; use sensorcaps or opensqa"):
        corpora.load("wikipedia")


def test_a_published_corpus_is_read_from_all_its_files_with_its_rate(monkeypatch, tmp_path):
    write(tmp_path / "train.jsonl", [chat("How fast?", "Two steps/s."), {"text": "x"}])
    write(tmp_path / "more.jsonl", [chat("How far?", "Nobody knows.")])
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **options: str(tmp_path))
    found = corpora.load("opensqa")
    assert (found.rows, found.parsed, len(found.failures)) == (3, 2, 1)
    assert set(found.pairs["source"]) == {"opensqa"}


def test_a_published_corpus_of_another_form_is_an_error(monkeypatch, tmp_path):
    write(tmp_path / "train.jsonl", [{"text": "x"}])
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **options: str(tmp_path))
    with pytest.raises(DataError, match="nothing that can be read as chats"):
        corpora.load("opensqa")


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splits(corpus):
    return DatasetDict(train=corpus.select(range(60)), validation=corpus.select(range(60, 96)))


@pytest.fixture(scope="module")
def folder(splits, tmp_path_factory):
    return corpora.export(splits, tmp_path_factory.mktemp("export") / "corpus")


def test_what_goes_out_comes_back_the_same(splits, folder):
    for name, split in splits.items():
        found = corpora.read_chat(folder / "chat" / f"{name}.jsonl")
        assert (found.rate, found.rows) == (1.0, len(split))
        rows = [row for row in found.pairs if row["kind"] != corpora.DESCRIPTION]
        pairs = [pair for row in split for pair in row["questions"]]
        assert [{key: row[key] for key in ("question", "answer", "kind")} for row in rows] == pairs
        described = [row for row in found.pairs if row["kind"] == corpora.DESCRIPTION]
        for column in ("caption", "narration", "activity", "source"):
            assert [row[column] for row in described] == list(split[column])
        assert {pair["kind"] for pair in pairs} == set(questions.KINDS)


def test_no_sample_of_a_recording_is_exported_and_the_hash_finds_it_again(splits, folder):
    table = load_dataset("parquet", data_files=str(folder / "data" / "train.parquet"), split="train")
    assert "imu" not in table.column_names
    kept = [name for name in splits["train"].column_names if name != "imu"]
    assert table.select_columns(kept).to_list() == splits["train"].select_columns(kept).to_list()
    assert list(table["window"]) == signals.window_hashes(signals.to_array(splits["train"]))
    rows = [json.loads(line) for line in (folder / "chat" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["window"] for row in rows] == list(table["window"])
    assert not any("imu" in row for row in rows)


def test_the_card_says_to_the_hub_and_to_people_what_it_is(splits, folder):
    card = DatasetCard.load(folder / "README.md")
    assert card.data.size_categories == ["n<1K"]
    assert card.data.license == "other"
    for part in card.data.configs:
        assert [file["split"] for file in part["data_files"]] == ["train", "validation"]
        assert all((folder / file["path"]).is_file() for file in part["data_files"])
    assert "CC BY 4.0" in card.text
    assert "commercial use is prohibited" in card.text
    assert "no column `imu`" in card.text
    assert "96 windows" in card.text
    assert f"{5 * 96} of them" in card.text
    assert "$" not in card.text
    for column in splits["train"].column_names:
        assert (f"| `{column}` |" in card.text) == (column != "imu")


def test_the_folder_loads_as_the_hub_would_load_it_and_the_chats_as_json(folder, tmp_path):
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 60, "validation": 36}
    chats = load_dataset("json", data_files=str(folder / "chat" / "train.jsonl"), cache_dir=str(tmp_path))
    assert len(chats["train"]) == 60


def test_the_same_corpus_is_exported_byte_for_byte_over_what_was_there(splits, folder, tmp_path):
    again = tmp_path / "corpus"
    corpora.export(DatasetDict(train=splits["train"]), again)
    (again / "old.txt").touch()
    corpora.export(splits, again)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file()) == files
    for file in files:
        assert (again / file).read_bytes() == (folder / file).read_bytes()


def test_a_folder_that_is_no_corpus_of_ours_is_left_alone(splits, tmp_path):
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / "thesis.txt").write_text("three years")
    with pytest.raises(ArtifactError, match="nothing is written there"):
        corpora.export(splits, tmp_path / "Documents")
    assert [path.name for path in tmp_path.rglob("*")] == ["Documents", "thesis.txt"]


def test_what_is_no_corpus_is_refused_and_nothing_is_written(hapt_windows, corpus, tmp_path):
    with pytest.raises(DataError, match=r"train is no corpus: caption, .* missing.*make_corpus"):
        corpora.export(hapt_windows, tmp_path / "corpus")
    with pytest.raises(DataError, match="the split train is empty"):
        corpora.export(corpus.select([]), tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
