"""The interface of jobs, asked over HTTP at a real server."""

import asyncio
import gzip
import io
import json
import os
import socket
import time
from contextlib import contextmanager

import highdicom
import httpx
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from builders.prediction import read
from builders.serving import RunningServer, wait_for, write_long_volume, write_series, write_volume, zipped

from nnunetv2_cdpd.inference.predictor import Predictor
from nnunetv2_cdpd.inference.statistics import prediction_statistics

OPTIONS = ("--max-upload", "2", "--max-queued", "5", "--patience", "1.5", "--max-voxels", "2")


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor.from_folder(model, device="cpu")


@pytest.fixture(scope="module")
def long_volume(tmp_path_factory):
    return write_long_volume(tmp_path_factory.mktemp("long") / "long.nii.gz")


@pytest.fixture
def running(client, long_volume):
    """A job that runs until the test is over."""
    with running_job(client, long_volume) as job:
        yield job


@contextmanager
def running_job(client, long_volume):
    job = client.post("/jobs", files={"file": long_volume.read_bytes()}).json()["id"]
    wait_for(client, job, ("running",))
    yield job
    if client.get(f"/jobs/{job}").json()["state"] == "running":
        client.delete(f"/jobs/{job}")
        wait_for(client, job)


def result(client, job, tmp_path, ending=".nii.gz"):
    state = wait_for(client, job)
    assert state["state"] == "done", state["error"]
    path = tmp_path / f"{job}{ending}"
    path.write_bytes(client.get(f"/jobs/{job}/label_map").content)
    return path


def test_label_map_and_statistics_are_those_of_the_predictor(client, volume, predictor, tmp_path):
    sent = client.post("/jobs", content=volume.read_bytes())
    assert sent.status_code == 202
    assert sent.headers["location"] == f"/jobs/{sent.json()['id']}"
    path = result(client, sent.json()["id"], tmp_path)
    expected = predictor.predict(volume)
    np.testing.assert_array_equal(read(path), expected.label_map)
    of_image, of_result = sitk.ReadImage(str(volume)), sitk.ReadImage(str(path))
    np.testing.assert_allclose(of_result.GetOrigin(), of_image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(of_result.GetDirection(), of_image.GetDirection(), atol=1e-6)
    statistics = prediction_statistics(expected, read(volume).astype(np.float32), "CT")
    assert client.get(f"/jobs/{sent.json()['id']}/statistics").json() == json.loads(json.dumps(statistics))


def test_classes_task_and_ending(client, volume, predictor, tmp_path):
    asked = {"classes": ["spleen", "liver"], "task": "Organs", "ending": ".nrrd", "model": "tiny"}
    job = client.post("/jobs", params=asked, files={"file": ("../../x.exe", volume.read_bytes())}).json()["id"]
    path = result(client, job, tmp_path, ".nrrd")
    np.testing.assert_array_equal(read(path), predictor.predict(volume, classes=["spleen", "liver"], task="Organs").label_map)
    assert client.get(f"/jobs/{job}").json()["values"] == {"liver": 1, "spleen": 6}


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_series_as_zip_or_slice_by_slice(client, predictor, tmp_path, as_zip):
    slices = write_series(tmp_path / "series")
    if as_zip:
        hostile = [f"../../../{'x' * n}/etc/passwd" if n % 2 else f"/abs{n}\0.dcm" for n in range(len(slices))]
        entries = [*zip(hostile, (file.read_bytes() for file in slices)), ("../readme.txt", b"hello"), ("DICOMDIR/", b"")]
        files = {"file": ("evil/../name.zip", zipped(tmp_path / "series.zip", entries).read_bytes())}
    else:
        files = [("file", ("same name", file.read_bytes())) for file in slices]
    job = client.post("/jobs", files=files).json()["id"]
    path = result(client, job, tmp_path)
    np.testing.assert_array_equal(read(path), predictor.predict(tmp_path / "series").label_map)
    notes = client.get(f"/jobs/{job}").json()["notes"]
    assert notes == (["1 files of the zip are no DICOM and were passed over"] if as_zip else [])


def test_a_series_as_dicom(client, tmp_path):
    """Read by pydicom and highdicom: patient, study and slices are the series', each class has the voxels of the label map."""
    slices = write_series(tmp_path / "series")
    asked = {"formats": ["dicom-seg", "rtstruct"], "classes": ["liver", "spleen"]}
    content = zipped(tmp_path / "series.zip", [(file.name, file.read_bytes()) for file in slices]).read_bytes()
    job = client.post("/jobs", params=asked, content=content).json()["id"]
    labels = read(result(client, job, tmp_path))
    of_series = {str(pydicom.dcmread(file).SOPInstanceUID) for file in slices}
    answer = client.get(f"/jobs/{job}/dicom-seg")
    segmentation = highdicom.seg.segread(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "application/dicom"
    assert segmentation.PatientID == "anonymous"
    uids = [uid for _, _, uid in segmentation.get_source_image_uids()]
    assert set(uids) <= of_series
    voxels = {str(item.SegmentLabel): 0 for item in segmentation.SegmentSequence}
    for frame, item in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        voxels[str(segmentation.SegmentSequence[number - 1].SegmentLabel)] += int(frame.sum())
    assert voxels == {"liver": int((labels == 1).sum()), "spleen": int((labels == 6).sum())}
    structures = pydicom.dcmread(io.BytesIO(client.get(f"/jobs/{job}/rtstruct").content))
    assert [str(item.ROIName) for item in structures.StructureSetROISequence] == ["liver", "spleen"]
    assert client.get(f"/jobs/{job}/dicom-labelmap").status_code == 404
    assert client.get(f"/jobs/{job}").json()["results"]["dicom-seg"] == f"/jobs/{job}/dicom-seg"


def test_progress_place_and_cancelling(client, running, volume):
    waiting = [client.post("/jobs", content=volume.read_bytes()).json() for _ in range(2)]
    assert [job["place"] for job in waiting] == [1, 2]
    seen = set()
    while len(seen) < 3:
        progress = client.get(f"/jobs/{running}").json()["progress"]
        if progress is not None:
            assert 0 < progress["windows_done"] <= progress["windows"]
            seen.add(progress["windows_done"])
        time.sleep(0.02)
    assert client.get(f"/jobs/{waiting[0]['id']}/label_map").status_code == 409
    assert client.delete(f"/jobs/{waiting[0]['id']}").json()["state"] == "cancelled"
    assert client.get(f"/jobs/{waiting[1]['id']}").json()["place"] == 1
    client.delete(f"/jobs/{running}")
    assert wait_for(client, running)["error"] == "it was cancelled"
    assert wait_for(client, waiting[1]["id"])["state"] == "done"
    client.delete(f"/jobs/{waiting[1]['id']}")
    assert client.get(f"/jobs/{waiting[1]['id']}").status_code == 404


def test_a_hundred_at_once(model, long_volume, volume, tmp_path):
    """Of a server with the usual patience: on a busy machine the last of them are not sent before a second or two."""
    with (
        RunningServer(f"tiny={model}", "--state", tmp_path / "state", "--max-queued", "5") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        running_job(client, long_volume) as running,
    ):
        check_a_hundred(client, server, running, volume, tmp_path)


def check_a_hundred(client, server, running, volume, tmp_path):
    async def send_all():
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=100)) as its:
            return await asyncio.gather(*(its.post("/jobs", files={"file": volume.read_bytes()}) for _ in range(100)))

    answers = asyncio.run(send_all())
    taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(taken) == 5
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(429, "10")}
    start = time.monotonic()
    assert client.get("/health").json() == {"status": "ok", "queued": 5}
    assert time.monotonic() - start < 5  # while a job runs
    client.delete(f"/jobs/{running}")
    maps = [read(result(client, job, tmp_path)) for job in taken]
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/jobs?model=other", 404, "no model 'other'; choose from tiny"),
        ("/jobs?classes=heart", 400, "no class 'heart'; choose from liver, liver_tumor"),
        ("/jobs?task=Heart", 400, "no task 'Heart'; choose from Liver, Kidney, Organs"),
        ("/jobs?task=Liver&classes=spleen", 400, "no class 'spleen' under task 'Liver'; choose from liver, liver_tumor"),
        ("/jobs?ending=/../x", 400, "no label map can be written as '/../x'"),
        ("/jobs?formats=pdf", 400, "no format 'pdf'; choose from dicom-seg, dicom-labelmap, rtstruct"),
        ("/jobs?formats=rtstruct", 400, "rtstruct is written of a DICOM series only"),
        ("/infer/other?image=x", 404, "no model 'other'"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(client, volume, path, status, words):
    answer = client.post(path, files={"file": volume.read_bytes()})
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "\n" not in answer.text


@pytest.mark.parametrize("job", ["0" * 32, "..%2f..%2fetc", "%00"])
def test_no_job_of_that_name(client, job):
    assert client.get(f"/jobs/{job}/label_map").status_code == 404


def test_files_that_are_none(client, volume, tmp_path):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(14 * 21 * 18 * 2))
    nrrd = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 18 21 14\nspacings: 1 1 1\nencoding: raw\nData File : {secret}\n\n"
    meta = f"NDims = 3\nDimSize = 18 21 14\nElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = {secret}\n"
    huge = bytearray(sitk_bytes(tmp_path / "huge.nii", (2, 2, 2)))
    huge[42:48] = np.array([2000, 2000, 2000], "<i2").tobytes()
    for content, words in (
        (b"", "no image in the request"),
        (b"hello", "of no format that is read here"),
        (nrrd.encode(), "voxels are in another file"),
        (meta.encode(), "voxels are in another file"),
        (b"Comment = ElementDataFile = LOCAL\n" + meta.encode(), "voxels are in another file"),
        (zipped(tmp_path / "bomb.zip", [("0.dcm", bytes(100 << 20))]).read_bytes(), "unpacks to 104,857,600 bytes"),
        (zipped(tmp_path / "many.zip", [(str(n), b"") for n in range(20_001)]).read_bytes(), "files"),
        (b"PK\3\4 no zip at all", "the zip is damaged"),
    ):
        answer = client.post("/jobs", files={"file": ("scan.nii.gz", content)})
        assert answer.status_code == 400, content[:50]
        assert words in answer.json()["detail"]
    for content, words in (
        (volume.read_bytes()[:-200], "damaged"),
        (bytes(huge), "8,000,000,000 voxels"),
        (gzip.compress(gzip.decompress(volume.read_bytes()) + bytes(70 << 20)), "goes on long after its last voxel"),
        (zipped(tmp_path / "text.zip", [("a.txt", b"hello")]).read_bytes(), "no DICOM file"),
    ):
        failed = wait_for(client, client.post("/jobs", content=content).json()["id"])
        assert failed["state"] == "failed"
        assert words in failed["error"]
        assert os.sep not in failed["error"].replace("n/a", "")
    assert wait_for(client, client.post("/jobs", content=volume.read_bytes()).json()["id"])["state"] == "done"


def sitk_bytes(path, shape):
    return write_volume(path, shape).read_bytes()


def test_too_large_whether_it_says_so_or_not(client, state):
    large = bytes(3 << 20)
    assert client.post("/jobs", content=large).status_code == 413
    assert client.post("/jobs", files={"file": large}).status_code == 413
    assert client.post("/jobs", content=iter([large])).status_code == 413  # of no length told
    assert folders_without_job(state) == []


def folders_without_job(state):
    return [folder for folder in (state / "jobs").iterdir() if not (folder / "job.json").exists()]


def talk(server, *parts):
    """What a server answers to bytes, "" if nothing."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer.decode()


def test_clients_that_are_slow_or_gone(client, server, state, volume):
    start = time.monotonic()
    assert talk(server, b"GET /health HTTP/1.1\r\nHos") == ""  # the head of a request never comes
    assert 1 < time.monotonic() - start < 10
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    assert talk(server, head + volume.read_bytes()[:100]).startswith("HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:  # gone in the middle of an upload
        connection.sendall(head + volume.read_bytes()[:100])
    job = client.post("/jobs", content=volume.read_bytes()).json()["id"]
    wait_for(client, job)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:  # and of a download
        connection.sendall(f"GET /jobs/{job}/label_map HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.recv(10)
    end = time.monotonic() + 10
    while folders_without_job(state) and time.monotonic() < end:
        time.sleep(0.05)
    assert folders_without_job(state) == []
    assert client.get(f"/jobs/{job}/label_map").status_code == 200


def test_other_names_and_pages_of_the_web_are_refused(client, server):
    for host, status in ((f"127.0.0.1:{server.port}", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("evil.example", 400)):
        assert client.get("/models", headers={"Host": host}).status_code == status
    assert talk(server, b"GET /models HTTP/1.0\r\n\r\n").startswith("HTTP/1.1 400")  # no name at all
    for origin, status in ((server.url, 200), ("http://evil.example", 403), ("null", 403), (f"{server.url}.evil.example", 403)):
        assert client.get("/models", headers={"Origin": origin}).status_code == status


def test_a_request_of_two_lengths_holds_no_second_one(server):
    """A proxy that goes by the other length would take what follows for the request of somebody else."""
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    told = talk(server, head + b"0\r\n\r\nGET /models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert told.startswith("HTTP/1.1 400")
    assert "a request of two lengths" in told
    assert told.count("HTTP/1.1") == 1


def test_page_of_requests_needs_nothing_from_outside(client):
    page = client.get("/docs").text
    assert "http://" not in page and "https://" not in page and "//cdn" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/jobs", "/jobs/{job_id}", "/models", "/infer/{model}", "/info/"} <= paths.keys()
