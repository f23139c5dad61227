"""Damage to windows and to files that several test files do."""

import random

# What no reader of a JSON object may believe, nor stumble over.
NO_OBJECTS = [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"a": "\\ud800"}', b"\xff\xfe\xfa", b"[1]",
              b'"a"', b"null", b"3", b'{"a": ' + b"1" * 5000 + b"}"]  # fmt: skip


def with_value(value):
    """A function that puts a value into step 7, channel 4 of window 2 of a copy."""

    def change(imu):
        imu = imu.copy()
        imu[2, 7, 4] = value
        return imu

    return change


def mutations(content, count, seed=0):
    """So many damaged versions of a file: cut short, with bytes changed (more often near the end, where a zip lists its
    members, and at the beginning), put in, left out, or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(content)
        kind, at = rng.choice(["cut", "insert", "remove", "double", *["change"] * 6]), rng.randrange(len(content))
        length = rng.randrange(1, 40)
        if kind == "cut":
            del damaged[at:]
        elif kind == "insert":
            damaged[at:at] = rng.randbytes(length)
        elif kind == "remove":
            del damaged[at : at + length]
        elif kind == "double":
            damaged[at:at] = damaged[at : at + length]
        for _ in range(rng.choice([1, 1, 2, 5]) if kind == "change" else 0):
            place = rng.choice([rng.randrange(len(content)), rng.randrange(60), len(content) - 1 - rng.randrange(200)])
            damaged[place % len(content)] = rng.randrange(256)
        yield bytes(damaged)
