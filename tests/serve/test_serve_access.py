"""Who may ask: names, pages and tokens, at the application without a process."""

import errno

import pytest
from fastapi.testclient import TestClient

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.serve.access import access_for, is_loopback
from nnunetv2_cdpd.serve.application import application
from nnunetv2_cdpd.serve.images import ImageStore
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.receiving import Receiver
from nnunetv2_cdpd.serve.server import Server
from nnunetv2_cdpd.serve.store import open_state
from nnunetv2_cdpd.serve.waiting import JobQueue

TOKEN = "correct-horse-battery-staple"
FACTS = {"classes": {"liver": 1}, "merged": {}, "tasks": {}, "channels": ["CT"], "dimension": 3}


def client_of(folder, access, limits=Limits()):
    open_state(folder)
    queue, images = JobQueue(folder / "jobs", limits), ImageStore(folder / "images", limits)
    app = application(Server({"tiny": FACTS}, queue, images, limits, access, Receiver(limits)))
    return TestClient(app, base_url="http://localhost")


def test_a_fault_of_ours_and_what_the_system_refuses_are_lines_without_paths(tmp_path, monkeypatch):
    client = client_of(tmp_path_of(tmp_path), access_for("127.0.0.1"))
    client = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    for error, told in (
        (FileNotFoundError(errno.ENOENT, "No such file or directory", str(tmp_path)), "cannot do it (No such file or directory)"),
        (OSError("a library's words"), "cannot do it (OSError)"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of the server is full"),
        (KeyError("fault"), "the server failed at this request; its log says why"),
    ):

        def fails(self, error=error):
            raise error

        monkeypatch.setattr(JobQueue, "check_room", fails)
        answer = client.post("/jobs", content=b"x")
        assert answer.status_code == (507 if "full" in told else 500)
        assert told in answer.json()["detail"]
        assert str(tmp_path) not in answer.text


def test_sessions_for_ever_and_longer(tmp_path):
    client = client_of(tmp_path_of(tmp_path), access_for("127.0.0.1"))
    assert client.put("/session/?expiry=1" + "0" * 400).status_code == 400


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\nnot this\n")
    return path


def test_each_request_needs_the_token(tmp_path, token_file):
    client = client_of(tmp_path_of(tmp_path), access_for("0.0.0.0", token_file))
    for wrong in (None, TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer", b"Bearer \xe9\xff"):
        for method, path in (("GET", "/models"), ("POST", "/jobs"), ("GET", "/info/"), ("PUT", "/session/"), ("GET", "/nothing")):
            answer = client.request(method, path, headers={} if wrong is None else {"Authorization": wrong})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (wrong, path)
            assert answer.json()["detail"].startswith("a token is needed")
    right = {"Authorization": f"Bearer {TOKEN}", "Host": "any.name.of.this.machine"}
    assert client.get("/models", headers=right).json().keys() == {"tiny"}
    assert client.get("/auth/token/valid", headers=right).status_code == 200
    assert client.get("/health").status_code == client.get("/docs").status_code == 200
    assert list((tmp_path_of(tmp_path) / "jobs").iterdir()) == []


def tmp_path_of(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(exist_ok=True)
    return folder


def test_monai_labels_client_gets_the_token_by_a_password(tmp_path, token_file):
    """3D Slicer asks the user for a name and a password where `enabled` is true."""
    client = client_of(tmp_path_of(tmp_path), access_for("127.0.0.1", token_file))
    assert client.get("/auth/").json()["enabled"] is True
    for wrong in ("wrong", "", TOKEN + " "):
        assert client.post("/auth/token", data={"username": "a", "password": wrong}).status_code == 401
    assert client.post("/auth/token", content=b"password=" + b"x" * (1 << 17)).status_code == 413
    given = client.post("/auth/token", data={"username": "a", "password": TOKEN}).json()
    assert given == {"access_token": TOKEN, "token_type": "bearer"}
    assert client.get("/models", headers={"Authorization": "bearer " + given["access_token"]}).status_code == 200


@pytest.mark.parametrize(
    ("host", "takes"),
    [("localhost:8000", True), ("127.0.0.1", True), ("[::1]:8000", True), ("cdpd.lan:1", True), ("evil.example", False)],
)
def test_on_this_machine_only_its_names_are_taken(host, takes):
    access = access_for("127.0.0.1", hosts=["cdpd.lan"])
    assert access.takes_host(host) is takes
    assert not access.takes_host(None)
    assert not access.takes_host(f"{host}.evil.example")


def test_with_a_token_names_given_are_the_only_ones(token_file):
    assert access_for("0.0.0.0", token_file).takes_host("any.name")
    assert not access_for("0.0.0.0", token_file, hosts=["cdpd.lan"]).takes_host("any.name")


@pytest.mark.parametrize(
    ("origin", "host", "takes"),
    [
        (None, None, True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://viewer.lan:3000", "localhost:8000", True),
        ("http://viewer.lan:3001", "localhost:8000", False),
        ("http://localhost:3000", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("http://[", "localhost:8000", False),
        ("", None, False),
    ],
)
def test_pages_of_the_web(origin, host, takes):
    assert access_for("127.0.0.1", origins=["http://viewer.lan:3000"]).takes_origin(origin, host) is takes


def test_addresses_that_only_this_machine_reaches():
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "::1", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "localhost.evil.example", "")))


@pytest.mark.parametrize("text", ["", "short", "fifteen-letters", "with blanks in the middle", "ümlaut-ümlaut-ümlaut"])
def test_tokens_that_are_none(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="a token is 16 or more"):
        access_for("127.0.0.1", path)


@pytest.mark.parametrize("origin", ["*", "localhost", "http://a/b", "http://", "javascript:x"])
def test_origins_that_are_none(origin):
    with pytest.raises(UserError, match="argument origins"):
        access_for("127.0.0.1", origins=[origin])


def test_more_channels_or_files_than_the_model_has(tmp_path):
    client = client_of(tmp_path_of(tmp_path), access_for("127.0.0.1"))
    nifti = bytes(344) + b"n+1\0" + bytes(100)
    answer = client.post("/jobs", files=[("file", nifti), ("file", nifti)])
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "2 files, and model tiny takes a file per channel: CT, in this order",
    )
    form = "multipart/form-data; boundary=b"
    named = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    for kind, content, words in (
        ("multipart/form-data", b"x", "names no boundary"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x", "the form cannot be read"),
        (form, b"x", "the form cannot be read"),
        (form, named % (b"file", b'; filename="a"') + nifti, "it ends early"),
        (form, b"--b\r\n\r\nx\r\n--b--\r\n", "a part has no name"),
        (form, b"--b\r\n" + b"X" * 20000 + b": y\r\n", "the form cannot be read"),
        (form, named % (b"params", b"") + b"x" * (1 << 21), "fields of the form are too long"),
        (form, b"".join(named % (b"f%d" % n, b"") + b"x\r\n" for n in range(40)), "more than 32 fields"),
    ):
        answer = client.post("/jobs", headers={"Content-Type": kind}, content=content)
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), (words, answer.text)
    answer = client.post("/jobs", headers={"Content-Type": "multipart/form-data"}, content=b"x")
    assert (answer.status_code, "the form cannot be read" in answer.json()["detail"]) == (400, True)
    assert list((tmp_path_of(tmp_path) / "jobs").iterdir()) == []


def test_a_full_queue_is_told_before_anything_is_received(tmp_path):
    client = client_of(tmp_path_of(tmp_path), access_for("127.0.0.1"), Limits(queued=1))
    nifti = bytes(344) + b"n+1\0" + bytes(100)
    first = client.post("/jobs", content=nifti)
    assert (first.status_code, first.json()["state"], first.json()["place"]) == (202, "queued", 0)
    answer = client.post("/jobs", content=nifti)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    client.delete(f"/jobs/{first.json()['id']}")
    assert client.post("/jobs", content=nifti).status_code == 202
