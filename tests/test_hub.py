"""`pull` against a server on this machine that answers as the hub does, and as a hub should not."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import diptych as dt
from diptych.errors import DiptychError
from diptych.formats.folder import write_model
from diptych.hub import pull
from diptych.presets import create

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/little-model"


class Hub(ThreadingHTTPServer):
    """The hub's two addresses, over a dictionary of files.

    Attributes:
        files: what it has, by name. seen: (path, headers) of every request. status: an answer to give instead.
        cut: bytes after which a file's first answer breaks off. announced: sizes and digests to tell instead of the true ones.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files = files
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.status: int | None = None
        self.cut: int | None = None
        self.announced: dict[str, dict[str, Any]] = {}
        self.listing: bytes | None = None
        self.elsewhere: str | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def list(self) -> bytes:
        if self.listing is not None:
            return self.listing
        siblings = []
        for name, body in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            item: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": blob}
            if name.endswith((".safetensors", ".bin")):
                item["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
            siblings.append({**item, **self.announced.get(name, {})})
        return json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        hub.seen.append((self.path, dict(self.headers)))
        if hub.status is not None:
            self.send_error(hub.status)
            return
        if self.path.startswith(f"/api/models/{NAME}/revision/"):
            self._send(hub.list())
            return
        name = self.path.removeprefix("/cdn").removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if name not in hub.files:
            self.send_error(404)
            return
        if hub.elsewhere and not self.path.startswith("/cdn"):
            self.send_response(302)
            self.send_header("Location", f"{hub.elsewhere}/cdn{self.path}")
            self.end_headers()
            return
        body, start = hub.files[name], 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if hub.cut is not None and not start and len(body) > hub.cut:
            stop = hub.cut
            self.close_connection = True
        self.wfile.write(body[start:stop])

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("origin")
    write_model(create("bert-tiny", vocab_size=40, hidden_size=16, num_layers=1, num_heads=2, context_length=8), folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "README.md": "# 小模型 🙂\r\n".encode(), "onnx/model.onnx": b"other tools' files", "pytorch_model.bin": b"pickle"}


@pytest.fixture
def hub(model_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub(dict(model_files))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def refused(hub: Hub, out: Path, code: str, name: str = NAME, **options: Any) -> str:
    with pytest.raises(DiptychError) as caught:
        pull(name, out, **options)
    assert caught.value.code == code, str(caught.value)
    assert not out.exists() and not list(out.parent.glob(f".{out.name}-*")), "whole or not at all"
    return str(caught.value)


def test_what_is_fetched_is_the_model_and_says_where_it_is_from(hub: Hub, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = pull(NAME, tmp_path / "mine", revision="v1.0", tell=lines.append)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md", "diptych"}
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (folder / name).read_bytes() == hub.files[name]
    facts = json.loads((folder / "diptych" / "provenance.json").read_text(encoding="utf-8"))
    assert (facts["name"], facts["asked"], facts["revision"], facts["from"]) == (NAME, "v1.0", COMMIT, hub.address)
    assert facts["files"]["model.safetensors"] == hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    assert any("model.safetensors" in line for line in lines)
    # The commit is asked for by itself, so that all files are of one state.
    assert all(COMMIT in path for path, _headers in hub.seen[1:])
    assert dt.load(folder).logits([[1, 2, 3]]).shape == (1, 3, 40)
    assert not list((tmp_path / "cache").glob("pull/*"))


def test_a_pickle_beside_safetensors_is_left_and_one_alone_is_refused(hub: Hub, tmp_path: Path) -> None:
    pull(NAME, tmp_path / "first")
    assert not any("bin" in path for path, _headers in hub.seen)
    del hub.files["model.safetensors"]
    assert "diptych convert" in refused(hub, tmp_path / "second", "E331")
    assert not any("bin" in path for path, _headers in hub.seen)


def test_weights_in_several_files_come_by_their_index(hub: Hub, tmp_path: Path) -> None:
    from safetensors.torch import save

    (tmp_path / "whole").write_bytes(hub.files.pop("model.safetensors"))
    tensors = load_file(tmp_path / "whole")
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        hub.files[f"model-{number}.safetensors"] = save({name: tensors[name] for name in part})
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    hub.files["model-9.safetensors"] = b"not named by the index"
    folder = pull(NAME, tmp_path / "mine")
    assert dt.load(folder).logits([[1, 2]]).shape == (1, 2, 40)
    assert not (folder / "model-9.safetensors").exists()
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "../../evil.safetensors"}}).encode()
    refused(hub, tmp_path / "other", "E312")


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 1000
    folder = pull(NAME, tmp_path / "mine")
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    ranges = [headers.get("Range") for path, headers in hub.seen if path.endswith("model.safetensors")]
    assert ranges == [None, "bytes=1000-"]


def test_a_later_run_goes_on_with_what_an_earlier_one_has(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.hub.ATTEMPTS", 1)
    hub.cut = 1000
    refused(hub, tmp_path / "mine", "E905")
    before = len(hub.seen)
    pull(NAME, tmp_path / "mine")
    assert [path.rpartition("/")[2] for path, _headers in hub.seen[before + 1 :]] == ["model.safetensors"]
    assert hub.seen[-1][1]["Range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("file", "told", "problem"),
    [
        ("model.safetensors", {"lfs": {"sha256": "0" * 64}}, "sha256"),
        ("model.safetensors", {"lfs": {"sha256": "0" * 64, "size": 10**15}}, ""),
        ("config.json", {"blobId": "0" * 40}, "digest"),
        ("config.json", {"size": 7}, ""),
    ],
)
def test_what_is_not_as_announced_is_refused(hub: Hub, tmp_path: Path, file: str, told: dict[str, Any], problem: str) -> None:
    hub.announced[file] = told
    with pytest.raises(DiptychError) as caught:
        pull(NAME, tmp_path / "mine")
    assert caught.value.code in ("E334", "E902") and problem in str(caught.value)
    assert not (tmp_path / "mine").exists() and not list((tmp_path / "cache").rglob(f"{file}*"))


@pytest.mark.parametrize("name", ["../evil.json", "/etc/passwd", "a/../../b", "a\\b", "x\ny", "./config.json", "a//b"])
def test_a_name_that_leads_elsewhere_ends_it(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.files[name] = b"{}"
    refused(hub, tmp_path / "mine", "E333")
    assert len(hub.seen) == 1 and not (tmp_path / "evil.json").exists()


@pytest.mark.parametrize(
    ("name", "revision"),
    [("../x", "main"), ("a/b/c", "main"), ("a/..", "main"), ("http://x/y", "main"), ("a/b", "../x"), ("a/b", ""), ("", "main")],
)
def test_what_is_no_name_is_not_asked_for(hub: Hub, tmp_path: Path, name: str, revision: str) -> None:
    refused(hub, tmp_path / "mine", "E335", name, revision=revision)
    assert hub.seen == []


@pytest.mark.parametrize(("status", "code"), [(404, "E332"), (401, "E906"), (403, "E906"), (500, "E905"), (429, "E905")])
def test_what_the_hub_refuses_is_said(hub: Hub, tmp_path: Path, status: int, code: str) -> None:
    hub.status = status
    assert (NAME in refused(hub, tmp_path / "mine", code)) == (code != "E905")


@pytest.mark.parametrize(
    "body", [b"<html>login</html>", b"[]", b'{"sha": "x", "siblings": []}', b'{"sha": 1}', b'{"sha": "0", "siblings": [3]}', b""]
)
def test_an_answer_that_is_no_listing_is_said(hub: Hub, tmp_path: Path, body: bytes) -> None:
    hub.listing = body
    refused(hub, tmp_path / "mine", "E905")


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b'{"model_type": "mamba-9"}', "E313"),
        (b'{"model_type": "x", "auto_map": {"AutoModel": "code.Model"}}', "E314"),
        (b'{"model_type": "bert"}', "E312"),
        (b"[]", "E312"),
    ],
)
def test_a_model_that_cannot_be_opened_is_refused_before_its_weights_are_fetched(
    hub: Hub, tmp_path: Path, config: bytes, code: str
) -> None:
    hub.files["config.json"] = config
    assert "little-model" in refused(hub, tmp_path / "mine", code)
    assert not any("safetensors" in path for path, _headers in hub.seen)


@pytest.mark.parametrize("name", ["gpt3", "openai/gpt-3-175B"])
def test_weights_that_nobody_published_are_not_asked_for(hub: Hub, name: str, tmp_path: Path) -> None:
    refused(hub, tmp_path / "mine", "E307", name)
    assert not hub.seen


def test_a_token_goes_to_the_hub_and_not_to_where_it_points(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.elsewhere = f"http://localhost:{hub.server_port}"
    pull(NAME, tmp_path / "mine")
    first = [headers for path, headers in hub.seen if not path.startswith("/cdn")]
    second = [headers for path, headers in hub.seen if path.startswith("/cdn")]
    assert all(headers["Authorization"] == "Bearer hf_secret" for headers in first)
    assert second and not any("Authorization" in headers for headers in second)


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in refused(hub, tmp_path / "mine", "E905") and hub.seen == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = refused(hub, tmp_path / "mine", "E905")
    assert "HF_ENDPOINT" in said and "diptych pull FOLDER" in said
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    refused(hub, tmp_path / "mine", "E335")


def test_a_folder_is_copied_without_what_does_not_belong(model_files: dict[str, bytes], tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "onnx").mkdir(parents=True)
    for name, body in model_files.items():
        (source / name).write_bytes(body)
    folder = pull(source, tmp_path / "copy")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md", "diptych"}
    (source / "model.safetensors").unlink()
    with pytest.raises(DiptychError) as caught:
        pull(source, tmp_path / "other")
    assert caught.value.code == "E315" and f"diptych convert {source}" in str(caught.value)


def test_what_is_no_model_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(DiptychError) as caught:
        pull(NAME, tmp_path / "mine")
    assert caught.value.code == "E413" and (tmp_path / "mine" / "thesis.txt").exists()
