"""Our corpora, ready to be published: chats, parquet and a dataset card, without a sample of any signal."""

import json
from pathlib import Path
from string import Template

import yaml
from datasets import DatasetDict

from llasa_lib import __version__, files, signals
from llasa_lib.captions import Facts
from llasa_lib.corpora.reading import DESCRIPTION
from llasa_lib.errors import DataError
from llasa_lib.recordings import sources

DESCRIBE = "Describe these six seconds in one caption, then tell them step by step."


def export(corpus, folder):
    """Write a corpus of ours to be published: as chats, as parquet, and with a dataset card.

    Parameters
    ----------
    corpus : datasets.Dataset or DatasetDict
        From :func:`questions.make_corpus`. The column ``imu`` stays behind; ``window``, the hash of its content
        (:func:`signals.window_hashes`), takes its place.
    folder : path
        Gets ``README.md`` (the card), ``data/<split>.parquet`` and ``chat/<split>.jsonl``. Replaced if it is there.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If a column of a corpus is missing, or there is no row.
    """
    splits = corpus if isinstance(corpus, DatasetDict) else DatasetDict(train=corpus)
    for name, split in splits.items():
        missing = {"caption", "narration", "facts", "questions", "activity", "source"} - set(split.column_names)
        if missing:
            raise DataError(f"{name} is no corpus: {', '.join(sorted(missing))} missing. Make it with make_corpus.")
        if not len(split):
            raise DataError(f"the split {name} is empty. Leave it out.")
    splits = DatasetDict({name: _without_signals(split) for name, split in splits.items()})
    with files.atomic(folder, folder=True) as temporary:
        for part in ("data", "chat"):
            (temporary / part).mkdir()
        for name, split in splits.items():
            split.to_parquet(temporary / "data" / f"{name}.parquet")
            with (temporary / "chat" / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(_as_chat(row), ensure_ascii=False) + "\n" for row in split)
        (temporary / "README.md").write_text(_card(splits), encoding="utf-8")
    return Path(folder)


def _without_signals(split):
    """The recordings are not ours to pass on: a hash says which window a row is about."""
    if "imu" not in split.column_names:
        return split
    hashes = signals.window_hashes(signals.to_array(split))
    return split.remove_columns("imu").add_column("window", hashes)


def _as_chat(row):
    """A row as one chat: the measured facts and a description, then the questions."""
    measured = repr(Facts.from_dict(json.loads(row["facts"])))
    turns = [(f"{DESCRIBE}\n\nMeasured:\n{measured}", f"Caption: {row['caption']}\n\nNarration: {row['narration']}")]
    turns += [(pair["question"], pair["answer"]) for pair in row["questions"]]
    messages = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    kinds = [DESCRIPTION, *(pair["kind"] for pair in row["questions"])]
    about = ("activity", "subject", "placement", "source", "start", "window")
    return {"messages": messages, "kinds": kinds} | {name: row[name] for name in about if name in row}


_MEANING = {
    "activity": "the label, copied from the recordings",
    "subject": "who wore the sensor, by the number that the recordings give",
    "placement": "where it was worn",
    "source": "the data set of the recording",
    "start": "first second of the window in its recording",
    "window": "hash of the window's samples (float32): finds them again among the windows that you cut yourself",
    "caption": "one caption; names the activity",
    "caption_blind": "one caption that does not",
    "narration": "the six seconds, step by step",
    "facts": "JSON: every measured value with unit, axis and the seconds that prove it",
    "questions": "list of question, answer, kind",
}

CARD = files.PACKAGE / "corpora" / "card.md"


def _card(splits):
    """The dataset card: YAML for the hub, then text for people."""
    windows = sum(map(len, splits.values()))
    names = {name for split in splits.values() for name in split.unique("source")}
    columns = next(iter(splits.values())).column_names
    tables = [{"split": name, "path": f"data/{name}.parquet"} for name in splits]
    metadata = {
        "pretty_name": "Captions and questions about six seconds of motion",
        "language": ["en"],
        "license": "other",
        "license_name": "as-the-recordings",
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["accelerometer", "gyroscope", "human-activity-recognition"],
        "size_categories": [_size(windows)],
        # The chats are no configuration beside it: the hub reads all files of a data set as one format.
        "configs": [{"config_name": "default", "data_files": tables}],
    }
    text = Template(CARD.read_text(encoding="utf-8")).substitute(
        windows=f"{windows:,}",
        pairs=f"{sum(len(pairs) for split in splits.values() for pairs in split['questions']):,}",
        version=__version__,
        splits="\n".join(f"| {name} | {len(split):,} |" for name, split in splits.items()),
        columns="\n".join(f"| `{name}` | {_MEANING.get(name, '')} |" for name in columns),
        sources="\n".join(f"- {_licence(name)}" for name in sorted(names)),
    )
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n{text}"


def _licence(name):
    source = sources.manifest().get(name)
    if source is None:
        return f"{name}: not a data set of this library; ask its owner."
    return f"{source.title}, {source.page}: {source.licence}"


def _size(rows):
    """The hub's word for a number of rows."""
    limits = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
    return next((word for limit, word in limits if rows < limit), "1M<n<10M")
