"""Which model an adapter was trained on: noted when the adapter is saved, asked for when it is loaded."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from llasa_lib import files
from llasa_lib.errors import ModelError

NOTE = "base_model.json"


@dataclass
class _Adapter:
    """What counts here of ``adapter_config.json``."""

    base_model_name_or_path: str | None = None


@dataclass
class _Note:
    """What stands in :data:`NOTE`."""

    fingerprint: str


def fingerprint(folder):
    """Sixteen hex digits of a model's folder: names, shapes and first rows of all its tensors.

    Training changes every row of what it changes, so the first ones tell models apart; whole files of a 13B model
    would take a minute to read.
    """
    parts = []
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            for name in sorted(tensors.keys()):
                part = tensors.get_slice(name)
                row = part[:1] if part.get_shape() else tensors.get_tensor(name)
                parts.append([name, part.get_shape(), row.float().flatten().tolist()])
    return files.fingerprint(sorted(parts, key=lambda part: part[0]))


def _is_model(folder):
    return (Path(folder) / "config.json").is_file()


def note(model, folder):
    """Beside a saved adapter, write which model it belongs to and where that lies from there, if it is in a folder.

    The model's configuration as well: Transformers then asks our own class, which knows how to :func:`find` the rest,
    and does not look for the base from wherever the program runs.
    """
    for adapter in getattr(model, "peft_config", {}).values():
        base = adapter.base_model_name_or_path
        if base and _is_model(base):
            # The way from folder to folder: an absolute path is true on one machine.
            path = Path(folder) / "adapter_config.json"
            saved = files.read_json(path, dict)
            saved["base_model_name_or_path"] = Path(os.path.relpath(base, folder)).as_posix()
            path.write_text(json.dumps(saved, indent=2, sort_keys=True), encoding="utf-8")
            shutil.copyfile(Path(base) / "config.json", Path(folder) / "config.json")
            (Path(folder) / NOTE).write_text(json.dumps({"fingerprint": fingerprint(base)}), encoding="utf-8")


def find(folder):
    """The model that an adapter's folder belongs to.

    Parameters
    ----------
    folder : path
        With ``adapter_config.json``.

    Returns
    -------
    path or hub id
        The neighbour ``align``, or else what the adapter's configuration names, seen from its folder.

    Raises
    ------
    ModelError
        If neither is the model that the adapter was trained on.
    OSError, ValueError
        If there is none, or a file that should tell it is damaged.
    """
    folder = Path(folder).resolve()
    named = files.parse_json((folder / "adapter_config.json").read_bytes(), _Adapter).base_model_name_or_path
    near = folder / named if named else None  # an absolute path stays what it is
    found = [base for base in (folder.parent / "align", near) if base and _is_model(base)]
    hub = bool(named) and not Path(named).is_absolute() and not named.startswith(".") and not _is_model(near)
    if not found:
        if hub:
            return named
        raise OSError(f"its base model is neither at {folder.parent / 'align'} nor at {named}")
    if not (folder / NOTE).exists():
        # Without a note the base came from the hub: a neighbour would be another model.
        return named if hub else found[0]
    trained_on = files.parse_json((folder / NOTE).read_bytes(), _Note).fingerprint
    for base in found:
        if fingerprint(base) == trained_on:
            return base
    raise ModelError(
        f"The adapter in {folder} was trained on another model than the one in {found[0]}, which was made anew since "
        "or comes from elsewhere. Train it again with: llasa tune"
    )
