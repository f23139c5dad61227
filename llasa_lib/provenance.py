"""Which code a result was made by: found from the names that code uses, never kept by hand.

- ``definitions(roots)``: every function, class and constant of this package that the roots can reach, in the package's
  own source: names are followed through imports, and through what an ``__init__`` re-exports.
- ``code_of(roots)``: sixteen hex digits that change when one of them does. Comments, docstrings and layout do not
  count, and neither do the version of Python or the line ends.

So a stage is made again when what it runs has changed, and not because a neighbour in the same package did.
NOTE: names that only exist at run time (``getattr`` with a string) are not seen.
"""

import ast
import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

from . import files

_TOP = __name__.split(".")[0]
DATA = (".yaml", ".md")  # manifests and templates, which count where code names them


class Definition(NamedTuple):
    """A top-level name of a module; the empty name stands for what runs when the module is imported."""

    module: str
    name: str


def definitions(roots, without=(), folder=None):
    """Everything that some code can reach by name in this package.

    Parameters
    ----------
    roots : iterable of functions or classes of this package; of (module, name), such as ``("signals.windows",
        "make_windows")``; or of str, the source of a script
    without : iterable of functions, classes, or (module, name)
        Where following ends: these, and what they alone reach, do not count.
    folder : path, optional
        Another copy of the package's source.

    Returns
    -------
    list of Definition
        In a fixed order.
    """
    return [one for one, _ in _reached(roots, without, *_state(folder))]


def code_of(roots, without=(), folder=None):
    """Sixteen hex digits that name the code of :func:`definitions`, and the data files that it names."""
    return _code_of(tuple(roots), tuple(without), *_state(folder))


def _state(folder):
    """The folder of the package's source, and a mark of what its files hold now."""
    folder = Path(folder or files.PACKAGE)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".py", *DATA))
    return folder, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


@functools.cache
def _code_of(roots, without, *state):
    """Asked again and again, by every stage for those before it: once per state of the package."""
    digest = hashlib.sha256()
    for one, module in _reached(roots, without, *state):
        digest.update(repr(tuple(one)).encode() + module.meaning(one.name))
        home = state[0].joinpath(*module.package)
        for file in (home / text for text in module.data_files(one.name)):
            digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


def _reached(roots, without, folder, stamp):
    """Pairs of a Definition and its _Module."""
    package, found, waiting = _Package(folder, stamp), {}, []
    for root in roots:
        if isinstance(root, str):
            waiting += package.used(_Module("", root, package=True), None)
        else:
            waiting.append(_definition(root))
    ended = {_definition(one) for one in without}
    while waiting:
        one = waiting.pop()
        if one not in found and one not in ended:
            found[one] = package.module(one.module)
            waiting += [Definition(one.module, ""), *package.used(found[one], one.name)]
    return sorted(found.items(), key=lambda pair: pair[0])


def _definition(one):
    if isinstance(one, tuple):
        return Definition(*one)
    return Definition(one.__module__.partition(".")[2], one.__qualname__)


@functools.cache
class _Package:
    """The source files of a folder in one state."""

    def __init__(self, folder, stamp):
        paths = [(path, path.relative_to(folder).with_suffix("").parts) for path, *_ in stamp if path.suffix == ".py"]
        self.paths = {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in paths}
        self.module, self.resolve = functools.cache(self._module), functools.cache(self._resolve)

    def _module(self, name):
        path = self.paths[name]
        return _Module(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")

    def _resolve(self, module, name):
        """Where a name of a module is defined: a Definition; a module's name; None outside of this package."""
        for _ in range(9):  # a re-export of a re-export ...
            own = self.module(module)
            if name in own.nodes:
                return Definition(module, name)
            if name not in own.imports:
                break
            module, name = own.imports[name]
            if name is None or module not in self.paths:
                return module if module in self.paths else None
        inner = f"{module}.{name}".lstrip(".")
        return inner if inner in self.paths else None

    def used(self, module, name):
        """What a definition of a module names in this package; with None, what the whole module does."""
        local = module.imports if name is None else module.local(name)
        for first, *attributes in module.names(name):
            if first in local:
                where, inner = local[first]
                found = self.resolve(where, inner) if inner is not None and where in self.paths else where
            else:
                found = None if name is None else self.resolve(module.name, first)
            for attribute in attributes:
                found = self.resolve(found, attribute) if isinstance(found, str) else found
            if isinstance(found, Definition):
                yield found
            elif found is not None:  # a module as a value: whoever gets it may use any part of it
                yield from (Definition(found, part) for part in self.module(found).nodes)


@functools.cache
class _Module:
    """What a source file defines and imports at its top, and what each of its definitions names."""

    def __init__(self, name, text, package):
        self.name = name
        self.package = [part for part in (name if package else name.rpartition(".")[0]).split(".") if part]
        self.nodes, self.imports, self.body = {"": []}, {}, ast.parse(text).body
        for node in self.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports |= self.imported(node)
            for defined in _defined(node):
                self.nodes.setdefault(defined, []).append(node)
        for asked in ("names", "local", "meaning", "data_files"):  # of each definition once
            setattr(self, asked, functools.cache(getattr(self, asked)))

    def walk(self, name):
        """Every part of a definition; of all of them with None."""
        for node in self.body if name is None else self.nodes[name]:
            yield from ast.walk(node)

    def local(self, name):
        """{name: (module, name there or None)} of the imports inside a definition."""
        inside = [node for node in self.walk(name) if isinstance(node, ast.Import | ast.ImportFrom)]
        return {local: found for node in inside for local, found in self.imported(node).items()}

    def imported(self, node):
        """The same of one import, as far as it names this package."""
        if isinstance(node, ast.Import):
            own = [alias for alias in node.names if alias.name.split(".")[0] == _TOP]
            return {a.asname or _TOP: (a.name.partition(".")[2] if a.asname else "", None) for a in own}
        inside = node.module.split(".") if node.module else []
        if node.level:
            inside = self.package[: len(self.package) - node.level + 1] + inside
        elif inside[0] != _TOP:
            return {}
        else:
            del inside[0]
        return {alias.asname or alias.name: (".".join(inside), alias.name) for alias in node.names}

    def names(self, name):
        """What a definition names, as chains of attributes: ``a.b.c`` is ("a", "b", "c")."""
        inner = {id(node.value) for node in self.walk(name) if isinstance(node, ast.Attribute)}
        return {chain for node in self.walk(name) if id(node) not in inner and (chain := _chain(node))}

    def meaning(self, name):
        """A digest of what a definition does."""
        return hashlib.sha256(repr(_plain(self.nodes[name])).encode()).digest()

    def data_files(self, name):
        """What a definition names that may be a file beside the module: a manifest, a template."""
        said = {
            node.value for node in self.walk(name) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        return sorted(text for text in said if text.endswith(DATA) and "\n" not in text)


def _defined(node):
    """Names that a top-level statement defines; the empty name for one that does something else."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)] or [""]
    return [] if isinstance(node, ast.Import | ast.ImportFrom) else [""]


def _chain(node):
    """``a.b.c`` as ("a", "b", "c"); None for anything but a name and its attributes."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def _plain(node):
    """A statement as nested tuples: what it means, the same under every version of Python."""
    if isinstance(node, ast.AST):
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return type(node).__name__, *fields
    if isinstance(node, list):
        return [_plain(one) for one in node if not _is_text(one)]
    return node


def _is_text(node):
    """Whether this is a docstring, or a string that stands by itself."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
