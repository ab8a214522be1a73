"""MONAI Label's interface: spoken byte by byte as its client does, and by that client itself where it is installed."""

import http.client
import io
import json
import re
import socket
import time
import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.model import ANNOTATION, CLASSES
from builders.prediction import read
from builders.serving import wait_for, write_long_volume, write_series

from nnunetv2_cdpd.inference.predictor import Predictor

VALUES = dict(zip(CLASSES, ANNOTATION.values))
LIMIT = "----------lImIt_of_THE_fIle_eW_$"  # the client's own


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    write_series(folder / "patient" / "ct", names="1.2.{}")
    return folder


@pytest.fixture(scope="module", autouse=True)
def options(request, shown):
    request.module.OPTIONS = ("--images", shown, "--allow-origin", "http://viewer.example:3000")


@pytest.fixture(scope="module")
def expected(model, volume, options):
    return Predictor.from_folder(model, device="cpu").predict(volume).label_map


def ask(server, method, selector, fields=None, files=None):
    """A request as MONAILabelUtils.http_multipart makes it: status, content type, and the answer's bytes."""
    lines = []
    for key, value in (fields or {}).items():
        lines += [f"--{LIMIT}", f'Content-Disposition: form-data; name="{key}"', "", value]
    for key, (name, content) in (files or {}).items():
        lines += [f"--{LIMIT}", f'Content-Disposition: form-data; name="{key}"; filename="{name}"']
        lines += ["Content-Type: application/octet-stream", "", content]
    lines += [f"--{LIMIT}--", ""]
    body = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\r\n" for line in lines)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"content-type": f"multipart/form-data; boundary={LIMIT}", "content-length": str(len(body))}
    connection.request(method, selector, body if fields or files else None, headers if fields or files else {})
    answer = connection.getresponse()
    assert answer.getheader("transfer-encoding") is None  # the client reads no chunks
    return answer.status, answer.getheader("content-type"), answer.read()


def parts_of(kind, content):
    """Name -> file name and content of the parts of a form, told from the bytes."""
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\w+)", kind)[1].encode()
    first, *parts, last = content.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    found = {}
    for part in parts:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name, _, file_name = re.search(rb'name="(\w+)"(; filename="([\w.]+)")?', head).groups()
        found[name.decode()] = (file_name and file_name.decode(), value.removesuffix(b"\r\n"))
    return found


def test_info_tells_what_the_viewers_read(client):
    told = client.get("/info/").json()
    assert told["labels"] == list(CLASSES)
    assert told["models"]["tiny"]["type"] == "segmentation"
    assert told["models"]["tiny"]["labels"] == VALUES
    assert "config" not in told  # with it 3D Slicer takes the server for an old one
    assert client.get("/auth/").json()["enabled"] is False


@pytest.mark.parametrize("output", ["", "&output=all"])
def test_infer_of_a_file(server, volume, expected, tmp_path, output):
    params = {"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "user-xyz"}
    files = {"label": ("/tmp/l.nrrd", b"scribbles"), "file": ("/tmp/slicer/a b.nii.gz", volume.read_bytes())}
    status, kind, content = ask(server, "POST", f"/infer/tiny?image=CT{output}", {"params": json.dumps(params)}, files)
    assert status == 200
    parts = parts_of(kind, content)
    assert json.loads(parts["params"][1])["label_names"] == VALUES
    name, image = parts["image"]
    assert re.fullmatch(r"[0-9a-f]{32}\.nrrd", name)
    path = tmp_path / name
    path.write_bytes(image)
    np.testing.assert_array_equal(read(path), expected)
    of_image, of_result = sitk.ReadImage(str(volume)), sitk.ReadImage(str(path))
    assert of_result.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    np.testing.assert_allclose(of_result.GetOrigin(), of_image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(of_result.GetDirection(), of_image.GetDirection(), atol=1e-6)


def test_sessions_and_images_of_a_name(server, client, volume, expected, tmp_path):
    session = client.put("/session/", files={"files": ("scan.nii.gz", volume.read_bytes())}).json()["session_id"]
    assert client.get(f"/session/{session}").json()["name"] == session
    assert client.get(f"/session/{session}?image=true").content == volume.read_bytes()
    name = "../../../etc/a name"
    assert client.put("/datastore/", params={"image": name}, files={"file": volume.read_bytes()}).json() == {"image": name}
    assert client.head("/datastore/image", params={"image": name}).status_code == 200
    for where in ({"session_id": session, "image": "x"}, {"image": name}):
        answer = client.post("/infer/tiny", params={**where, "output": "image"}, data={"params": '{"result_extension": ".mha"}'})
        path = tmp_path / "result.mha"
        path.write_bytes(answer.content)
        np.testing.assert_array_equal(read(path), expected)
    listed = client.get("/datastore/?output=all").json()["objects"]
    assert name in listed and session not in listed
    assert client.delete(f"/session/{session}").status_code == 200
    assert client.get(f"/session/{session}").status_code == 404
    assert client.post("/infer/tiny", params={"image": "unknown"}).status_code == 404


def test_ohif_names_a_series(client, shown, model, tmp_path):
    """It sends a form with `params` only, from a page of another server, and takes an uncompressed NRRD."""
    (uid,) = (name for name in client.get("/datastore/?output=all").json()["objects"] if name.startswith("1.2.826."))
    sent = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, "restore_label_idx": False}
    page = {"Origin": "http://viewer.example:3000"}
    form = {"params": (None, json.dumps(sent))}
    answer = client.post("/infer/tiny", params={"image": uid, "output": "image"}, files=form, headers=page)
    assert answer.headers["access-control-allow-origin"] == "http://viewer.example:3000"
    assert b"encoding: raw" in answer.content[:1000]
    path = tmp_path / "result.nrrd"
    path.write_bytes(answer.content)
    expected = Predictor.from_folder(model, device="cpu").predict(shown / "patient" / "ct").label_map
    np.testing.assert_array_equal(read(path), expected)
    answer = client.post("/infer/tiny", params={"image": uid, "output": "dicom_seg"}, files=form)
    assert answer.headers["content-type"] == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(answer.content)).Modality == "SEG"
    asked = {**page, "Access-Control-Request-Method": "POST"}
    assert client.options("/infer/tiny", headers=asked).status_code == 200
    assert client.options("/infer/tiny", headers={**asked, "Origin": "http://other.example"}).status_code == 400


def test_classes_and_what_is_wrong_with_params(client, volume):
    def told(params, **more):
        return client.post("/infer/tiny", params={"output": "json", **more}, data={"params": params}, files={"file": scan})

    scan = volume.read_bytes()
    assert told('{"classes": "liver, spleen"}').json()["label_names"] == VALUES  # in 3D Slicer their places are the values
    assert told('{"classes": ["liver"], "task": "Liver"}').json()["label_names"] == {"liver": 1}
    for params in ("[1]", "{", '{"classes": 3}', '{"classes": "heart"}', '{"task": 1}', '{"result_extension": "/../../x.nrrd"}'):
        assert told(params).status_code == 400, params
    assert told("{}", output="dicom").status_code == 400
    assert "of a DICOM series only" in told("{}", output="dicom_seg").json()["detail"]
    failed = client.post("/infer/tiny", files={"file": scan[:-100]})
    assert failed.status_code == 500
    assert "damaged" in failed.json()["detail"]


def test_one_who_hangs_up_gives_the_place_free(client, server, state, tmp_path):
    content = write_long_volume(tmp_path / "long.nii.gz").read_bytes()
    head = f"POST /infer/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + content)
        while not any(json.loads(path.read_text())["state"] == "running" for path in state.glob("jobs/*/job.json")):
            time.sleep(0.02)
        waiting = client.post("/jobs", content=content).json()
        assert waiting["place"] == 1
    wait_for(client, waiting["id"], ("running",), seconds=20)
    client.delete(f"/jobs/{waiting['id']}")


def test_labels_are_not_taken(client, volume):
    answer = client.put("/datastore/label?image=x", files={"label": volume.read_bytes()})
    assert answer.status_code == 501
    assert client.get("/train/?check_if_running=true").status_code == 404  # nothing is trained


def test_monai_labels_own_client(server, volume, expected, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses cgi
        module = pytest.importorskip("monailabel.client.client", reason="MONAI Label's client is not installed")
    its = module.MONAILabelClient(server.url, str(tmp_path), "user")
    assert not its.auth_enabled()
    assert its.info()["models"]["tiny"]["labels"] == VALUES
    session = its.create_session(str(volume))["session_id"]
    assert its.get_session(session)["name"] == session
    its.upload_image(str(volume), "scan")
    for image, more in (("x", {"session_id": session}), ("scan", {}), ("x", {"file": str(volume)})):
        file, params = its.infer("tiny", image, {"result_extension": ".nrrd", "result_dtype": "uint8"}, **more)
        np.testing.assert_array_equal(read(file), expected)
        assert params["label_names"] == VALUES
    assert "scan" in its.datastore()["objects"]
    its.remove_session(session)
    with pytest.raises(module.MONAILabelClientException):
        its.get_session(session)
    assert not its.train_status(check_if_running=True)
