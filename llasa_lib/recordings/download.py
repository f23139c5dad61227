"""One file over HTTP, continued where it broke off.

- A downloader for pooch: pooch checks the sha256 and moves the file into place; this adds what it lacks, resuming.
- What has arrived is kept in ``<file>.partial`` until it is all there, also over a kill and a restart.
- A broken download is continued only if the server says that its file is still the same (``If-Range``).
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import requests
from tqdm.auto import tqdm

from llasa_lib.files import parse_json

CHUNK = 1 << 16  # bytes
TIMEOUT = (10, 30)  # s, to connect and between two pieces
TRIES = 3  # in a row without one new byte, then it is given up

BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class Downloader:
    """Callable that ``pooch.retrieve(downloader=...)`` takes.

    Parameters
    ----------
    target : path
        Where the file will lie in the end; the unfinished one lies beside it as ``<target>.partial``.
    size : int, bytes, optional
        How long the file is, if known.
    """

    def __init__(self, target, size=None):
        self.partial = Path(f"{target}.partial")
        self.origin = Path(f"{target}.partial.json")  # where the partial file comes from
        self.size = size

    def __call__(self, url, output_file, pooch):
        """Download ``url`` to ``output_file``; an ``OSError`` says what went wrong."""
        tries = TRIES
        while tries:
            before = self._have()
            try:
                self._fetch(url)
                break
            except BROKEN:
                tries = TRIES if self._have() > before else tries - 1
                if not tries:
                    raise
        os.replace(self.partial, output_file)
        self.origin.unlink(missing_ok=True)

    def _have(self):
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _fetch(self, url):
        # Compressed on the way, lengths would not be those of the file.
        headers = {"Accept-Encoding": "identity"} | self._resume_headers(url)
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # more bytes here than there: not the same file
                self._forget()
                raise requests.ConnectionError("the broken download does not fit the server's file")
            response.raise_for_status()
            have = self._begin(response, url)
            rest = response.headers.get("Content-Length")
            total = have + int(rest) if rest is not None else self.size
            self._check_space(total, have)
            # Else the last piece before a cut is thrown away; the length is checked below.
            response.raw.enforce_content_length = False
            bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=self.partial.stem, leave=False)
            with open(self.partial, "ab") as file, bar:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        self._check_size(total)

    def _resume_headers(self, url):
        """Ask for the rest, if there is a beginning of the same file."""
        version = self._known(url)
        return {"Range": f"bytes={self._have()}-", "If-Range": version} if version and self._have() else {}

    def _known(self, url):
        """Version of the file that has begun to arrive from this address, if that is known."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            origin = parse_json(self.origin.read_bytes(), dict[str, str])
            if origin["url"] == url:
                return origin["version"]
        return None

    def _begin(self, response, url):
        """Keep what is here if the server continues the same file (206), else start anew; how many bytes are here."""
        have, version = self._have(), self._version(response)
        if response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            # Some servers continue whatever file they have by now, though If-Range asks them not to.
            if version in (None, self._known(url)):
                return have
        self._forget()
        if response.status_code == 206:
            raise requests.ConnectionError("the server continued the download at the wrong place, or of another file")
        if version:
            self.origin.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
        return 0

    def _version(self, response):
        # A weak tag promises an equivalent file, not the same bytes; then the date has to do.
        tag = response.headers.get("ETag", "")
        return tag if tag.startswith('"') else response.headers.get("Last-Modified")

    def _forget(self):
        self.partial.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def _check_space(self, total, have):
        free = shutil.disk_usage(self.partial.parent).free
        if total and total - have > free:
            raise OSError(f"the disk is full: {(total - have) / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")

    def _check_size(self, total):
        have = self._have()
        if total is not None and have < total:
            raise requests.ConnectionError(f"the connection was cut after {have} of {total} bytes")
        expected = total if self.size is None else self.size
        if expected is not None and have != expected:
            self._forget()
            raise OSError(f"{have} bytes came instead of {expected}, so it is another file")
