"""cdpd submit without a cluster: the scripts that it would submit, the checks before, and the same run here."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from builders.submit import PROBE, starts

from nnunetv2_cdpd.cli.main import main

TRAIN = ("--", "train", "400", "3d_fullres", "0", "1")


def scripts(capsys, *arguments):
    assert main(["submit", "--dry-run", *arguments]) == 0
    return re.split(r"^# sbatch ", capsys.readouterr().out, flags=re.MULTILINE)[1:]


def refused(capsys, *arguments):
    assert main(["submit", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cdpd: error: ") and error.count("\n") == 1
    return error.removeprefix("cdpd: error: ").strip()


# ---- what would be submitted ------------------------------------------------------------------------------------------


def test_a_dry_run_prints_what_is_asked_for_and_submits_nothing(place, capsys, nnunet_folders):
    options = ("--partition", "gpu", "--gpus", "a100:1", "--cpus", "6", "--mem", "64G", "--time", "1-0", "--account", "lab")
    rest = (
        "--qos",
        "long",
        "--constraint",
        "a|b",
        "--array-parallelism",
        "3",
        "--sbatch",
        "mail-type=END",
        "--setup",
        "module load x",
    )
    (script,) = scripts(capsys, *options, *rest, *TRAIN)
    first, *lines = script.splitlines()
    assert first == f"{place}/cdpd_submit/1-train.sh"
    assert lines[0] == "#!/bin/bash"
    assert {line for line in lines if line.startswith("#SBATCH")} == {
        "#SBATCH --partition=gpu", "#SBATCH --gpus-per-node=a100:1", "#SBATCH --cpus-per-task=6", "#SBATCH --mem=64G",
        "#SBATCH --time=1-0", "#SBATCH --account=lab", "#SBATCH --qos=long", "#SBATCH --constraint='a|b'",
        "#SBATCH --array=0-1%2", "#SBATCH --mail-type=END", "#SBATCH --job-name=cdpd-1-train", "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1", "#SBATCH --open-mode=append", "#SBATCH --requeue", "#SBATCH --signal=B:USR2@60",
        f"#SBATCH --output={shlex.quote(str(place).replace('%', '%%') + '/cdpd_submit/1-train_%a.log')}",
    }  # fmt: skip
    assert "module load x" in lines and f"export nnUNet_raw={nnunet_folders.raw}" in lines
    assert "0) work+=(400 3d_fullres 0) ;;" in lines and "1) work+=(400 3d_fullres 1) ;;" in lines
    assert f"work=({sys.executable} -m nnunetv2_cdpd.cli.main train)" in lines
    assert os.listdir(place) == []


def test_every_script_is_one_that_bash_reads(place, capsys):
    texts = scripts(
        capsys, "--nodes", "2", "--gpus", "4", *TRAIN, "--then", "--gpus", "2", *TRAIN, "--then", "--gpus", "0", "--jobs", "2",
        "--", "convert", "KITS23", "it's \"$HOME\" `x`", "--then", "--", "evaluate", "a", "b",
    )  # fmt: skip
    for text in texts:
        body = text.split("\n", 1)[1]
        assert subprocess.run(["bash", "-n"], input=body, text=True, capture_output=True).stderr == ""


@pytest.mark.parametrize("lines", [("echo 'a",), ("module load x", "if true; then"), ("cat <<E",), ("echo )",)], ids=str)
def test_a_setup_that_bash_cannot_read_is_refused_before_anything_is_written(place, capsys, lines):
    options = [word for line in lines for word in ("--setup", line)]
    told = refused(capsys, *options, *TRAIN)
    assert told.startswith("--setup: bash cannot read ") and repr(lines[-1]) in told
    assert os.listdir(place) == []


def test_a_setup_of_several_lines_is_read_as_one_text(place, capsys):
    (script,) = scripts(capsys, "--setup", "if true; then", "--setup", 'echo "it\'s"', "--setup", "fi", *TRAIN)
    assert 'if true; then\necho "it\'s"\nfi\n' in script


def test_steps_follow_each_other_with_the_options_of_the_one_before(place, capsys):
    first, second, third, last = scripts(
        capsys, "--partition", "cpu", "--after", "7", "8", "--jobs", "2", "--", "convert", "KITS23", "x",
        "--then", "--gpus", "1", *TRAIN, "--then", "--gpus", "0", "--", "evaluate", "a", "b",
    )  # fmt: skip
    heads = [text.splitlines()[0].split(f"{place}")[0] for text in (first, second, third, last)]
    waits = [f"--dependency=afterok:{what} --kill-on-invalid-dep=yes " for what in
             ("7:8", "<job of 1-convert>", "<job of 2-convert>", "<job of 3-train>")]  # fmt: skip
    assert heads == waits
    assert all("#SBATCH --partition=cpu" in text for text in (first, second, third, last))
    assert ["gpus" in text for text in (first, second, third, last)] == [False, False, True, False]
    assert ["--array" in text for text in (first, second, third, last)] == [True, False, True, False]


def test_processes_on_several_nodes_meet_on_the_first(place, capsys):
    (text,) = scripts(capsys, "--nodes", "2", "--gpus", "4", "--cpus", "12", "--", "train", "400", "2d", "all")
    work = " ".join(text[text.index("work=(") :].split(")\n")[0].split())
    assert work == (
        "work=(srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=12 --kill-on-bad-exit=1 "
        f"{sys.executable} -m torch.distributed.run --nproc-per-node=4 --nnodes=2 --rdzv-backend=c10d "
        '--rdzv-endpoint="$meet" --rdzv-id="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" -m nnunetv2_cdpd.cli.main train'
    )
    (text,) = scripts(capsys, "--gpus", "2", "--", "train", "400", "2d", "all")
    assert (
        f"work=({sys.executable} -m torch.distributed.run --nproc-per-node=2 --standalone -m nnunetv2_cdpd.cli.main train)"
        in text
    )


# ---- the environment --------------------------------------------------------------------------------------------------


def exported(script):
    return dict(re.findall(r"^export (\w+)=(.*)$", script, re.MULTILINE))


def test_the_environment_goes_along_but_for_secrets(place, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", "random")
    monkeypatch.setenv("CDPD_SERVE_TOKEN", "hidden")
    monkeypatch.setenv("HF_HOME", "/a b")
    monkeypatch.setenv("nnUNet_results", os.path.relpath(tmp_path / "nnUNet_results"))
    (script,) = scripts(capsys, "--cpus", "3", *TRAIN)
    found = exported(script)
    assert found["CDPD_VISION_WEIGHTS"] == "random" and found["HF_HOME"] == "'/a b'" and "hidden" not in script
    assert found["nnUNet_results"] == str(tmp_path / "nnUNet_results")
    assert found["PATH"] == f'{os.path.dirname(sys.executable)}:"$PATH"'
    # nnU-Net counts the machine's cores; a training saves by the clock
    assert (found["nnUNet_def_n_proc"], found["CDPD_SAVE_MINUTES"]) == ("3", "15") and int(found["nnUNet_n_proc_DA"]) <= 3
    monkeypatch.setenv("CDPD_SAVE_MINUTES", "5")
    monkeypatch.setenv("nnUNet_n_proc_DA", "9")
    (script,) = scripts(capsys, "--cpus", "3", *TRAIN)
    assert exported(script)["CDPD_SAVE_MINUTES"] == "5" and exported(script)["nnUNet_n_proc_DA"] == "9"
    (script,) = scripts(capsys, "--", "evaluate", "a", "b")
    assert not {"nnUNet_def_n_proc", "CDPD_SAVE_MINUTES"} & {*exported(script)} - {"CDPD_SAVE_MINUTES"}


@pytest.mark.parametrize(
    ("change", "command", "words"),
    [
        ({"nnUNet_preprocessed": None}, TRAIN, "nnUNet_preprocessed is not set, which train needs; `export nnUNet_preprocessed="),
        ({"nnUNet_results": " "}, TRAIN, "nnUNet_results is not set, which train needs"),
        ({"nnUNet_results": "/nowhere/at/all"}, TRAIN, "nnUNet_results=/nowhere/at/all: no such folder, which train needs"),
        ({"nnUNet_raw": None}, ("--", "convert", "KITS23", "x"), "nnUNet_raw is not set, which convert needs"),
        (
            {"nnUNet_raw": None},
            ("--", "nnUNetv2_preprocess", "-d", "1"),
            "nnUNet_raw is not set, which nnUNetv2_preprocess needs",
        ),
        (
            {"nnUNet_results": None},
            ("--", "predict", "-i", "a", "-o", "b", "-d", "1"),
            "nnUNet_results is not set, which predict",
        ),
        (
            {"CDPD_VISION_WEIGHTS": "/no.pth"},
            TRAIN,
            "CDPD_VISION_WEIGHTS=/no.pth: no such file; set it to a file of weights, to random",
        ),
        ({"CDPD_VISION_ENCODER": "nobody"}, TRAIN, "CDPD_VISION_ENCODER=nobody: no encoder of this name"),
        ({"CDPD_VISION_ENCODER": "nobody"}, ("--", "plan", "-d", "1"), "CDPD_VISION_ENCODER=nobody: no encoder of this name"),
        ({"CDPD_TEXT_WEIGHTS": "/no.pth"}, TRAIN, "CDPD_TEXT_WEIGHTS=/no.pth: no such file"),
        ({"CDPD_TEXT_WEIGHTS": "/no.pth"}, ("--", "nnUNetv2_train", "4", "2d", "0"), "CDPD_TEXT_WEIGHTS=/no.pth: no such file"),
    ],
)
def test_what_a_job_would_miss_is_told_before(change, command, words, place, capsys, monkeypatch):
    for name, value in change.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert refused(capsys, *command).startswith(words)
    assert os.listdir(place) == []


def test_text_weights_may_be_a_folder(place, capsys, monkeypatch, tmp_path):
    """As open_clip saves a model, and as the released tables lie."""
    monkeypatch.setenv("CDPD_TEXT_WEIGHTS", str(tmp_path))
    assert scripts(capsys, *TRAIN)
    monkeypatch.setenv("CDPD_VISION_WEIGHTS", str(tmp_path))
    assert "no such file; set it to a file of weights" in refused(capsys, *TRAIN)


def test_what_a_job_does_not_need_may_be_missing(place, capsys, monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name)
    assert scripts(capsys, "--", "predict", "-i", "a", "-o", "b", "-m", "model")


# ---- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no command: give one behind `--`"),
        (("--gpus", "1", "--"), "no command: give one behind `--`"),
        ((*TRAIN, "--then", "--"), "no command: give one behind `--`"),
        (("--", "trian", "4", "2d", "0"), "trian: cannot be submitted; give doctor, demo"),
        (("--", "submit", "--", "train"), "submit: cannot be submitted"),
        (("--", "rm", "-rf", "/"), "rm: cannot be submitted"),
        (("--", "nnUNetv2_../../evil"), "nnUNetv2_../../evil: no command of nnU-Net"),
        (("--sbatch", "a b=c", "--", "evaluate", "a", "b"), "--sbatch a b: is no option of sbatch; give KEY=VALUE"),
        (("--", "nnUNetv2_such_a_thing"), "nnUNetv2_such_a_thing: not there beside"),
        (("--jobs", "2", "--", "evaluate", "a", "b"), "--jobs 2: evaluate cannot share its work"),
        (("--gpus", "x", *TRAIN), "--gpus x: give a number of GPUs"),
        (("--sbatch", "mail", *TRAIN), "--sbatch mail: give KEY=VALUE"),
        (("--sbatch", "output=x", *TRAIN), "--sbatch output: jobs have it for their logs, restarts, order and parts"),
        (("--sbatch", "signal=TERM@9", *TRAIN), "--sbatch signal: jobs have it for their logs, restarts, order and parts"),
        (("--sbatch=--=x", *TRAIN), "--sbatch --=x: give KEY=VALUE"),
        (("--after", "x;y", *TRAIN), "--after x;y: give numbers of jobs"),
        (("--cluster", "local", "--after", "3", *TRAIN), "--after: names jobs of Slurm"),
        (("--cluster", "local", "--nodes", "2", *TRAIN), "--nodes 2: this is one machine"),
        ((*TRAIN, "--then", "--dry-run", *TRAIN), "--dry-run: holds for all steps; give it before the first command"),
        (("--logs", "", *TRAIN), "--logs '': is empty"),
        (("--logs", "a\nb", *TRAIN), "no line for sbatch can hold a line break"),
        (("--status", "nowhere"), "nowhere/cdpd_submit.json: no such file; give the folder that `cdpd submit` named"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, words, place, capsys):
    assert words in refused(capsys, *arguments)
    assert os.listdir(place) == []


def test_arguments_that_a_command_does_not_take_are_told_before(place, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["submit", "--", "predict", "-i", "a", "-d", "1"])
    assert stop.value.code == 2 and "the following arguments are required: -o/--out/--output" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(place, capsys):
    (place / "logs").mkdir()
    (place / "logs/mine").write_text("x")
    assert refused(capsys, "--logs", "logs", *TRAIN).startswith("logs: is there already")
    (place / "cdpd_submit").mkdir()
    assert scripts(capsys, *TRAIN)[0].startswith(f"{place}/cdpd_submit_2/1-train.sh")


def test_where_there_is_no_slurm_nothing_is_left(place, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(place.parent))
    error = refused(capsys, "--", PROBE, "ok", "out")
    assert error.startswith(f"1-{PROBE}: there is no sbatch here, so no Slurm; submit on a machine that reaches the cluster")
    assert os.listdir(place) == []


def test_without_submitit_the_way_out_is_told(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert refused(capsys, "--dry-run", *TRAIN).endswith("run: pip install 'nnunetv2-cdpd[slurm]'")


# ---- the same here ----------------------------------------------------------------------------------------------------


def test_steps_run_here_in_order(place, capsys, raw):
    ok = ("--", PROBE, "ok", "order", "it's $HOME")
    assert main(["submit", "--cluster", "local", *ok, "--then", "--", PROBE, "ok", "order", "second"]) == 0
    lines = [line[3:] for line in starts(place / "order")]
    assert lines == [[str(raw), "ok", "order", "it's", "$HOME"], [str(raw), "ok", "order", "second"]]
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == [f"1-{PROBE}: done", f"2-{PROBE}: done"]
    assert main(["submit", "--status", "cdpd_submit"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"1-{PROBE}: done", f"2-{PROBE}: done"]
    assert "start 1:" in (place / f"cdpd_submit/1-{PROBE}.log").read_text()


def test_a_failed_step_stops_those_that_need_it_and_is_named(place, capsys):
    failing, ok = ("--", PROBE, "fail", "order", "3"), ("--then", "--", PROBE, "ok", "order")
    assert main(["submit", "--cluster", "local", *failing, *ok, *ok]) == 1
    assert len(starts(place / "order")) == 1
    told = [
        f"1-{PROBE}: failed (exit code 3; said why it fails; {place}/cdpd_submit/1-{PROBE}.log)",
        f"2-{PROBE}: not run (because of 1-{PROBE})",
        f"3-{PROBE}: not run (because of 2-{PROBE})",
    ]
    assert capsys.readouterr().out.splitlines()[-3:] == told
    assert main(["submit", "--status", "cdpd_submit"]) == 1
    assert capsys.readouterr().out.splitlines() == told


def test_no_pickle_is_left(place):
    assert main(["submit", "--cluster", "local", "--", PROBE, "ok", "order"]) == 0
    left = sorted(os.listdir(place / "cdpd_submit"))
    assert left == [f"1-{PROBE}.code", f"1-{PROBE}.log", f"1-{PROBE}.sh", "cdpd_submit.json"]
