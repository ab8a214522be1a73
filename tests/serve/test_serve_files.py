"""What is taken from strangers, told by its bytes; zips; and what stays on the disk."""

import gzip
import json
import struct
import time
import zipfile

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from builders.serving import write_series, zipped

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.serve.archive import MOST_FILES, check_archive, unpack_slices
from nnunetv2_cdpd.serve.images import ImageStore, found_images
from nnunetv2_cdpd.serve.kinds import kind_of
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.store import SentImage, ServedJob, open_state
from nnunetv2_cdpd.serve.waiting import JobQueue, QueueFull

PLENTY = 1 << 30


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".gipl"])
def test_kinds_are_told_by_the_content(tmp_path, ending):
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    unnamed = (tmp_path / f"a{ending}").rename(tmp_path / "b")
    assert kind_of(unnamed) == ending


def test_kinds_of_nifti_2_zip_and_dicom(tmp_path):
    nibabel.save(nibabel.Nifti2Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert kind_of(tmp_path / "a.nii") == ".nii"
    assert kind_of(zipped(tmp_path / "b", [("x", b"y")])) == ".zip"
    assert kind_of(write_series(tmp_path / "series")[0]) == ".dcm"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MZ\x90",
        b"NRRD0004\ndatafile: x.raw\n\n",
        b"NRRD0004\nDATA FILE: LIST\nx.raw\n",
        b"NRRD0004\ntype: short\r data file : /etc/passwd\n\nabc",
        b"NDims = 3\nElementDataFile = x.raw\n",
        b"NDims = 3\nElementDataFile : LIST\nx.raw\n",
        b"NDims = 3\nComment = ElementDataFile = LOCAL\nElementDataFile = x.raw\n",
        b"NDims = 3\nElementDataFile = LOCALx\n",
    ],
)
def test_what_leads_to_other_files_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="send NIfTI, NRRD"):
        kind_of(tmp_path / "a")


def test_zip_entries_lie_where_we_put_them(tmp_path):
    slices = [file.read_bytes() for file in write_series(tmp_path / "series")]
    names = ["../../up.dcm", "/abs.dcm", "C:\\x.dcm", "same.dcm", "same.dcm", "a/b/c.dcm", "con", "x" * 300 + ".dcm"]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(tmp_path / "a.zip", [*zip(names, slices), ("readme", b"no DICOM")])
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    folder = tmp_path / "out"
    folder.mkdir()
    assert unpack_slices(path, folder, PLENTY) == 2
    assert [file.read_bytes() for file in sorted(folder.iterdir())] == slices[: len(names)]
    assert {file.name for file in folder.iterdir()} == {f"{number:05d}.dcm" for number in range(len(names))}
    assert not any(file.is_symlink() for file in folder.iterdir())


def patched(path, at, value, width=4):
    content = bytearray(path.read_bytes())
    content[at : at + width] = value.to_bytes(width, "little")
    path.write_bytes(content)
    return path


def test_zips_that_are_bombs_or_lie(tmp_path):
    zeros = bytes(70 << 20)
    with pytest.raises(UserError, match="200 times its own size and more"):
        check_archive(zipped(tmp_path / "ratio.zip", [("0", zeros)]), PLENTY)
    with pytest.raises(UserError, match="unpacks to 3,000,000 bytes, and 2,999,999 are taken"):
        check_archive(zipped(tmp_path / "total.zip", [(str(n), bytes(1_000_000)) for n in range(3)]), 2_999_999)
    with pytest.raises(UserError, match="20,001 files"):
        check_archive(zipped(tmp_path / "many.zip", [(str(n), b"") for n in range(MOST_FILES + 1)]), PLENTY)
    path = zipped(tmp_path / "lies.zip", [("0", bytes(1 << 20))])
    place = path.read_bytes().index(b"PK\1\2")
    with pytest.raises(UserError, match="larger than the zip says|damaged"):
        unpack_slices(patched(path, place + 24, 100), tmp_path, PLENTY)
    for name, length, words in (("directory", 1 << 30, "lists more files"), ("none", 10, "damaged")):
        path = zipped(tmp_path / f"{name}.zip", [("0", b"x")])
        with pytest.raises(UserError, match=words):
            check_archive(patched(path, path.stat().st_size - 10, length), PLENTY)
    path = zipped(tmp_path / "encrypted.zip", [("0", b"x")])
    with pytest.raises(UserError, match="encrypted"):
        check_archive(patched(path, path.read_bytes().index(b"PK\1\2") + 8, 1, 2), PLENTY)
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("0", b"x")
    with pytest.raises(UserError, match="packed in a way"):
        check_archive(tmp_path / "lzma.zip", PLENTY)


def test_a_large_directory_is_not_believed_to_be_small(tmp_path):
    """The record of a large zip says how long the directory is, where the usual one says another length."""
    path = zipped(tmp_path / "large.zip", [("0", b"x")])
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    path.write_bytes(content[:end] + record + locator + content[end:])
    with pytest.raises(UserError, match="lists more files"):
        check_archive(path, PLENTY)


def queue_in(folder, **limits):
    folder.mkdir(exist_ok=True)
    open_state(folder)
    return JobQueue(folder / "jobs", Limits(**limits))


def job_in(queue, **facts):
    identifier, folder = queue.new_folder()
    (folder / "input_0.nii").write_bytes(b"x")
    job = ServedJob(identifier, "tiny", None, None, [str(folder / "input_0.nii")], False, ".nii.gz", **facts)
    queue.submit(job)
    return job


def test_a_new_queue_tells_what_the_old_one_left(tmp_path):
    queue = queue_in(tmp_path / "state")
    done, renamed, waiting = (job_in(queue) for _ in range(3))
    assert queue.next(0) is done
    queue.finish(done, "done", notes=["a note"], values={"liver": 1})
    assert queue.next(0) is renamed
    result = queue.folder_of(renamed) / "result"
    result.mkdir()
    (result / "result.json").write_text(json.dumps({"notes": ["n"], "values": {"spleen": 6}}))
    half = queue.folder_of(waiting) / ".cdpd_tmp_abc"
    half.mkdir()
    (tmp_path / "state" / "jobs" / "half").mkdir()
    again = queue_in(tmp_path / "state")
    assert [(again.get(job.id).state, again.get(job.id).values) for job in (done, renamed, waiting)] == [
        ("done", {"liver": 1}),
        ("done", {"spleen": 6}),
        ("lost", {}),
    ]
    assert again.num_waiting == 0
    assert not half.exists() and not (tmp_path / "state" / "jobs" / "half").exists()
    assert not (again.folder_of(renamed) / "input_0.nii").exists()


def test_a_queue_is_bounded_and_forgets(tmp_path):
    queue = queue_in(tmp_path / "state", queued=2, kept_jobs=2, kept_hours=1)
    jobs = [job_in(queue) for _ in range(2)]
    with pytest.raises(QueueFull):
        job_in(queue)
    assert [queue.place(job) for job in jobs] == [0, 1]
    for _ in range(4):
        job = queue.next(0)
        queue.finish(job, "failed", "why")
        jobs.append(job_in(queue))
    over = [job for job in jobs if queue.get(job.id) is not None and job.is_over]
    assert [job.error for job in over] == ["why", "why"]
    over[0].finished = time.time() - 3601
    queue.clear()
    assert queue.get(over[0].id) is None and not queue.folder_of(over[0]).exists()


def test_images_by_name_are_kept_for_a_while(tmp_path):
    (tmp_path / "state").mkdir()
    open_state(tmp_path / "state")
    store = ImageStore(tmp_path / "state" / "images", Limits(kept_jobs=2, kept_hours=1))

    def keep(name, **more):
        identifier, folder = store.new_folder()
        (folder / "input_0.nii").write_bytes(b"x")
        return store.keep(identifier, name, SentImage((folder / "input_0.nii",), False), **more)

    first, second = keep("a"), keep("a")
    assert store.get(first.id) is None
    assert store.named("a").files == (store.folder / second.id / "input_0.nii",)
    session = keep(None, expires=100)
    assert store.names() == ["a"]
    session.used -= 101
    assert store.get(session.id) is None
    keep("b"), keep("c")
    assert store.names() == ["b", "c"]
    again = ImageStore(store.folder, Limits())
    assert again.names() == ["b", "c"]
    assert {folder.name for folder in store.folder.iterdir()} == {image.id for image in map(store.get, ids(store)) if image}


def ids(store):
    return [folder.name for folder in store.folder.iterdir()]


def test_images_of_a_folder_are_found_by_name_and_series(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "scan.nii.gz").write_bytes(gzip.compress(b""))
    slices = write_series(tmp_path / "deep" / "er" / "ct", names="IM{:04d}")
    found = found_images(tmp_path)
    (uid,) = found.keys() - {"scan"}
    assert (sorted(found[uid].files), found[uid].is_series) == (sorted(slices), True)
    assert found["scan"] == SentImage((tmp_path / "deep" / "scan.nii.gz",), False)


def test_images_of_one_name_and_a_series_in_several_folders_are_all_found(tmp_path):
    for case in ("case_1", "case_2"):
        (tmp_path / case).mkdir()
        (tmp_path / case / "imaging.nii.gz").write_bytes(b"")
    first, *others = write_series(tmp_path / "ct", names="IM{:04d}")
    (tmp_path / "more").mkdir()
    moved = first.rename(tmp_path / "more" / first.name)
    found = found_images(tmp_path)
    (uid,) = found.keys() - {"case_1_imaging", "case_2_imaging"}
    assert sorted(found[uid].files) == sorted([*others, moved])
    assert [found[f"{case}_imaging"].files for case in ("case_1", "case_2")] == [
        (tmp_path / case / "imaging.nii.gz",) for case in ("case_1", "case_2")
    ]


@pytest.mark.parametrize(("voxels", "at_model", "words"), [(3_000_000, 0, "takes 2,000,000"), (1000, 3e9, "voxel size")])
def test_images_that_are_too_large(voxels, at_model, words):
    with pytest.raises(UserError, match=words):
        Limits(megavoxels=2).check_voxels(voxels, at_model)
