"""benchmarks/gpu.py, which runs on a GPU: rehearsed on the CPU, within its time, on a machine without readers of files."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from builders.project import CLONE

SCRIPT = CLONE / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu

    return gpu


def rehearse(out, *options):
    command = [sys.executable, str(SCRIPT), str(out), "--rehearse", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads((out / "results.json").read_text()), done.stdout


def test_a_rehearsal_writes_results_and_prints_tables(tmp_path):
    results, said = rehearse(tmp_path, "--bare", "--sections", "machine", "loss", "resampling")
    assert results["machine"]["rows"]["stood in for"]["is"].startswith("SimpleITK, blosc2")
    loss = results["loss"]["rows"]
    assert list(loss) == [f"{name}, {n} classes" for n in (4, 6) for name in ("PartialLabelLoss", "DC_and_BCE_loss")]
    assert all(0 < row["fastest"] <= row["ms"] <= row["slowest"] for row in loss.values())
    on_device = results["resampling"]["rows"]["along_axis on cpu, 60 x 64 x 52 to 40 x 34 x 28"]
    assert float(on_device["difference"]) < 1e-5
    (row,) = [line for line in said.splitlines() if line.startswith("| PartialLabelLoss, 6")]
    assert f"| {loss['PartialLabelLoss, 6 classes']['ms']} |" in row
    assert "### loss" in said and "a rehearsal, whose numbers say nothing" in said


@pytest.mark.slow
def test_every_section_is_rehearsed(tmp_path, gpu):
    wanted = [name for name in gpu.SECTIONS if name != "compile"]  # which takes minutes on a CPU
    results, _ = rehearse(tmp_path, "--sections", *wanted)
    assert list(results) == wanted and all(result["rows"] for result in results.values())
    predicted = list(results["predict"]["rows"].values())
    assert all(row["total s"] >= row["windows s"] >= row["network s"] > 0 for row in predicted if "total s" in row)
    assert all(isinstance(row["write s"], float) for row in predicted if "total s" in row)
    parity = results["parity"]["rows"]
    # whose sums are halves: in corners, of which such a small volume has many, some voxels differ
    assert float(parity["nnUNetPredictor beside ours, 32 x 32 x 48"]["equal"].rstrip("%")) > 99.5
    assert parity["label map, cpu beside CPU, 40 x 40 x 60"]["equal"] == "100.0000%"


def test_what_a_section_needs_is_compared_with_the_time_that_is_left(gpu, tmp_path):
    from gpu_sections.bench import TINY, Bench

    late, early = (Bench(TINY, "cpu", tmp_path, time.monotonic() + seconds) for seconds in (-1, 60))
    assert late.lacks(70) == "0 s left of 70 wanted" and early.lacks(70) == ""  # a rehearsal is no GPU, whose time was guessed
    on_gpu = Bench(TINY, "cuda", tmp_path, time.monotonic() + 60)
    assert on_gpu.lacks(70) == "60 s left of 70 wanted" and on_gpu.lacks(50) == ""


def test_without_a_gpu_it_says_so(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path / "out")])
    monkeypatch.setattr(gpu, "prepare", lambda work, bare: ())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main() == 1
    said = capsys.readouterr().err
    assert said == "gpu.py: this PyTorch finds no GPU here; --rehearse runs the same on a CPU at tiny sizes\n"
    assert not (tmp_path / "out").exists()


def bench_with(seconds):
    end = time.monotonic() + seconds

    class Bench(SimpleNamespace):
        left_s = property(lambda self: end - time.monotonic())

        def lacks(self, wanted):
            return "none left" if self.left_s < wanted else ""

        def free(self):
            pass

    return Bench()


def test_at_the_deadline_a_section_ends_with_what_it_has_and_the_next_is_left_out(gpu, tmp_path, monkeypatch):
    def rows_of(section, bench):
        yield "first", {"ms": 1}
        time.sleep(60)
        yield "second", {"ms": 2}

    monkeypatch.setattr(gpu, "rows_of", rows_of)
    monkeypatch.setattr(gpu, "SECTIONS", {name: gpu.Section("", 0.1) for name in ("long", "next")})
    started = time.monotonic()
    gpu.run(bench_with(0.3), ["long", "next"], tmp_path / "results.json")
    assert time.monotonic() - started < 30
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["long"]["rows"] == {"first": {"ms": 1}}
    assert results["long"]["error"] == "TimeoutError: the deadline came while this section ran"
    assert results["next"]["skipped"] == "none left" and results["next"]["rows"] == {}


def test_a_section_that_fails_leaves_the_others(gpu, tmp_path, monkeypatch, capsys):
    def rows_of(section, bench):
        if section.function == "bad":
            raise RuntimeError("no kernel")
        yield "row", {"ms": 3, "at": {"a.py:1": 2}}

    monkeypatch.setattr(gpu, "rows_of", rows_of)
    monkeypatch.setattr(gpu, "SECTIONS", {name: gpu.Section(name, 0) for name in ("bad", "good")})
    results = gpu.run(bench_with(60), ["bad", "good"], tmp_path / "results.json")
    assert results["bad"]["error"] == "RuntimeError: no kernel" and results["good"]["rows"] == {
        "row": {"ms": 3, "at": {"a.py:1": 2}}
    }
    capsys.readouterr()
    gpu.print_tables(results)
    assert "| what | ms | at |\n|---|---:|---:|\n| row | 3 | a.py:1 2 |" in capsys.readouterr().out


def test_what_must_travel_is_one_small_folder(gpu, tmp_path):
    from gpu_sections.pack import CARRIED, pack

    assert "there: python benchmarks/gpu.py OUT" in pack(tmp_path / "packed")
    for name in CARRIED:
        assert (tmp_path / "packed" / "packages" / name).is_dir() and list(
            (tmp_path / "packed" / "packages").glob(f"{name}-*.dist-info")
        )
    for name in (
        "benchmarks/gpu.py",
        "benchmarks/loader.py",
        "tests/builders/model.py",
        "nnunetv2_cdpd/trainers/nnUNetTrainerCDPD.py",
    ):
        assert (tmp_path / "packed" / name).is_file(), name
    with pytest.raises(SystemExit, match="exists already"):
        pack(tmp_path / "packed")


def test_stand_ins_can_be_named_and_inherited_from_but_not_called(gpu, monkeypatch):
    from gpu_sections.stand_ins import _Finder

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _Finder(["no_such_reader"])])
    from no_such_reader.parts import Image

    class Mine(Image):
        pass

    assert (Image | None) and Image.Kind.SOME
    with pytest.raises(RuntimeError, match=r"no_such_reader\.parts\.Image\.load is not installed here"):
        Image.load("x")
    with pytest.raises(AttributeError):
        _ = Image.__wrapped__
    for name in ("no_such_reader", "no_such_reader.parts"):
        del sys.modules[name]
