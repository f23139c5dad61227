"""Ten thousand damaged files, and what the library says of them: make fuzz.

Every file is a good one of our own with a few random changes. Whatever comes of it, it comes as an answer or as a
sentence (a LlasaError): no traceback, nothing over 20 seconds, no more than 1.5 GB. A case is named by its kind and its
seed: ``python scripts/fuzz.py csv 17`` runs one again.
"""

import argparse
import collections
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from llasa_lib import files, profiles, recordings
from llasa_lib.errors import LlasaError

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"
SECONDS, MEMORY = 20, 1.5  # at most, per case; GB beyond what the imports took
COUNTS = {"csv": 4500, "zip": 4500, "journal": 400, "json": 300, "profile": 200, "model": 100}
# What stands for itself in these formats: more is found by putting it elsewhere than by any random byte.
TOKENS = [
    *(b"", b"\n", b"\r", b"\t", b"\0", b",", b";", b'"', b"-", b"{", b"[" * 2000, b"\xff\xfe", b"PK\x01\x02"),
    *(b"nan", b"1e308", b"-1e999", b"1e-320", b"9" * 400, b"null", b"true", b'"\\ud800"', b"time", b"2026-11-27"),
]


def damaged(content, rng):
    """A copy of some bytes with one to six changes."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        start = rng.randrange(len(content) + 1)
        length = rng.choice((0, 1, 2, 8, 64, 1024))
        change = rng.randrange(5)
        if change == 0:
            content[start : start + length] = rng.randbytes(length)
        elif change == 1:
            content[start : start + length] = rng.choice(TOKENS)
        elif change == 2:
            content[start:start] = content[start : start + length] * rng.choice((1, 2, 50))
        elif change == 3 and rng.random() < 0.2:
            del content[start:]
        elif start < len(content):
            content[start] ^= 1 << rng.randrange(8)
    return bytes(content)


def _walk():
    """Half a minute of the sample, as lines."""
    return (SAMPLES / "walk.csv").read_bytes().splitlines(keepends=True)[:800]


def csv(folder, rng):
    """A recording in one file, in one of four forms."""
    forms = [
        b"".join(_walk()),
        b"".join(_walk()).replace(b",", b";"),
        (SAMPLES / "physics_toolbox.csv").read_bytes()[:60_000],
    ]
    path = folder / rng.choice(("walk.csv", "walk.txt"))
    path.write_bytes(damaged(rng.choice(forms), rng))
    return lambda: recordings.inspect(path)


def zip_(folder, rng):
    """A phone's export as a zip, with every kind of compression; the container is damaged, or a file in it."""
    export = SAMPLES / rng.choice(("phyphox", "sensor_logger"))
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    members = {path.relative_to(export).as_posix(): path.read_bytes()[:40_000] for path in export.rglob("*.csv")}
    inside = rng.random() < 0.3
    if inside:
        name = rng.choice(sorted(members))
        members[name] = damaged(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    content = packed.getvalue()
    path = folder / "export.zip"
    path.write_bytes(content if inside else damaged(content, rng))
    return lambda: recordings.inspect(path)


def journal(folder, rng):
    """What a writer has paid for."""
    from llasa_lib import writers

    line = b'{"window": "%d", "prompt": "p", "model": "m", "text": "The person walks.", "tokens": [10, 20]}\n'
    path = folder / "journal.jsonl"
    path.write_bytes(damaged(b"".join(line % n for n in range(20)), rng))

    def read():
        with writers.journal.Journal(path):
            pass

    return read


def json(folder, rng):
    """A stage's stamp, a loss curve or a report."""
    from llasa_lib.evaluation import Report, System
    from llasa_lib.pipeline import Pipeline

    run = Pipeline("smoke", folder / "smoke")
    stage = run.folder / "evaluate"
    true = ["walking", "lying"]
    system = System.score("model", "model", true, true, ["a", "b"], draws=10)
    Report("smoke", true, ["a", "b"], [system]).save(stage / "report.json")
    files.write_json([{"step": 1, "loss": 0.5}], stage / "history.json")
    files.write_json({"key": "k", "content": "c", "seconds": 1.0}, stage / "stage.json")
    path = rng.choice(sorted(stage.glob("*.json")))
    path.write_bytes(damaged(path.read_bytes(), rng))
    run.make = lambda name: None
    return lambda: (run.history("evaluate"), run.seconds("evaluate"), str(Report.load(stage / "report.json")))


def profile(folder, rng):
    """All settings of a run."""
    path = folder / "own.yaml"
    path.write_bytes(damaged((profiles.FOLDER / "cpu.yaml").read_bytes(), rng))
    return lambda: profiles.load(path)


def model(folder, rng):
    """A tiny model with its processor."""
    from llasa_lib.model import load

    source = _tiny_model()
    for path in source.iterdir():
        shutil.copyfile(path, folder / path.name)
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(damaged(path.read_bytes(), rng))
    return lambda: load(folder)


def _tiny_model():
    """The aligned model of the smoke profile: made here if nobody has."""
    from llasa_lib.pipeline import Pipeline

    run = Pipeline("smoke")
    run.make("align")
    return run.folder / "align"


KINDS = {"csv": csv, "zip": zip_, "journal": journal, "json": json, "profile": profile, "model": model}


def _stop(*_):
    raise TimeoutError(f"more than {SECONDS} s")


def try_one(kind, seed):
    """(kind, seed, what went wrong or None, seconds) of one case."""
    rng = random.Random(f"{kind}-{seed}")
    signal.signal(signal.SIGALRM, _stop)
    wrong, before = None, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = KINDS[kind](Path(folder), rng)
        signal.alarm(SECONDS)
        started = time.perf_counter()
        try:
            case()
        except LlasaError as error:
            if len(str(error)) > 2000:
                wrong = f"a message of {len(str(error))} characters"
        except BaseException:
            wrong = traceback.format_exc()
        finally:
            signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20  # KB on Linux
    if grown > MEMORY:
        wrong = f"{grown:.1f} GB"
    return kind, seed, wrong, time.perf_counter() - started


def _warm_up():
    """Import what is measured beside: a case's memory and seconds are its own."""
    import llasa_lib.model  # noqa: F401

    for kind in KINDS:
        try_one(kind, "warm-up")


def main():
    """Run all cases, or one again; exit code 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("--first", type=int, default=random.SystemRandom().randrange(10**6), help="first seed")
    parser.add_argument("--share", type=float, default=1.0, help="of the ten thousand")
    given = parser.parse_args()
    if given.seed is not None:
        print(try_one(given.kind, given.seed)[2] or "as it should be")
        return
    _tiny_model()
    counts = {given.kind: COUNTS[given.kind]} if given.kind else COUNTS
    cases = [
        (kind, given.first + n) for kind, count in counts.items() for n in range(max(1, round(count * given.share)))
    ]
    print(f"seeds from {given.first}: {len(cases)} cases")
    found, slowest = collections.defaultdict(list), (0, "", 0)
    with ProcessPoolExecutor(os.cpu_count(), initializer=_warm_up) as pool:
        for kind, seed, wrong, seconds in pool.map(try_one, *zip(*cases, strict=True), chunksize=20):
            slowest = max(slowest, (seconds, kind, seed))
            if wrong:
                found[wrong.strip().splitlines()[-1]].append((kind, seed))
    for wrong, where in found.items():
        print(f"{len(where)} x {wrong[:200]}: for example {' '.join(map(str, where[0]))}")
    seconds, kind, seed = slowest
    print(f"{sum(map(len, found.values()))} of {len(cases)} went wrong; slowest {seconds:.1f} s ({kind} {seed})")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
