"""The `cdpd` command itself: help, mistakes, interruption, arguments handed on to nnU-Net."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from nnunetv2_cdpd import __version__
from nnunetv2_cdpd.cli import main as cli
from nnunetv2_cdpd.cli.commands import COMMANDS, Command
from nnunetv2_cdpd.errors import UserError


@pytest.fixture
def command(monkeypatch):
    """A function that makes `cdpd test` run another function."""

    def register(run, **flags):
        module = SimpleNamespace(
            DESCRIPTION="A test.", EXAMPLES=(), add_arguments=lambda parser: parser.add_argument("--x"), run=run
        )
        monkeypatch.setitem(sys.modules, "nnunetv2_cdpd.cli.test", module)
        monkeypatch.setitem(COMMANDS, "test", Command("a test", **flags))

    return register


def raising(error):
    def run(args):
        raise error

    return run


def test_help_lists_every_command_and_imports_neither_torch_nor_nnunet():
    script = (
        "import sys\n"
        "from nnunetv2_cdpd.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "print(sorted({'torch', 'numpy', 'nnunetv2', 'timm', 'open_clip'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
    for name, command in COMMANDS.items():
        assert f"  {name} " in output and command.help in output
    places = [output.index(f"\n  {name} ") for name in ("doctor", "convert", "merge", "train", "predict", "evaluate", "report")]
    assert places == sorted(places)  # of the work


def test_no_arguments_print_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 0
    assert "commands, in the order of the work:" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"nnunetv2-cdpd {__version__}\n"


@pytest.mark.parametrize("name", ["link", "doctor", "plan"])
def test_a_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: cdpd {name}")


def test_user_error_is_one_line_on_stderr(command, capsys):
    command(raising(UserError("folder/file.json: wrong; do this")))
    assert cli.main(["test"]) == 1
    assert capsys.readouterr() == ("", "cdpd: error: folder/file.json: wrong; do this\n")


def test_user_error_shows_its_traceback_on_request(command, monkeypatch):
    monkeypatch.setenv("CDPD_DEBUG", "1")
    command(raising(UserError("wrong")))
    with pytest.raises(UserError, match="wrong"):
        cli.main(["test"])


def test_other_errors_are_not_hidden(command):
    command(raising(RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        cli.main(["test"])


@pytest.mark.parametrize(
    ("number", "file", "told"),
    [
        (errno.EROFS, "/archive/out", "/archive/out: Read-only file system"),
        (errno.EACCES, "/archive/out", "/archive/out: Permission denied"),
        (errno.ENOSPC, None, "No space left on device"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(command, capsys, number, file, told):
    command(raising(OSError(number, os.strerror(number), file)))
    assert cli.main(["test"]) == 1
    assert capsys.readouterr().err == f"cdpd: error: {told}; choose another place or mend this one\n"


def test_a_file_that_is_not_there_is_one_line(command, capsys):
    command(raising(FileNotFoundError(errno.ENOENT, "No such file", "images/a.nii.gz")))
    assert cli.main(["test"]) == 1
    told = "cdpd: error: images/a.nii.gz: no such file or folder; give another, or make it first\n"
    assert capsys.readouterr().err == told


def test_an_error_of_input_and_output_that_no_system_gave_is_not_hidden(command):
    command(raising(OSError("a mistake of ours")))
    with pytest.raises(OSError, match="a mistake of ours"):
        cli.main(["test"])


@pytest.mark.parametrize("value", ["x", "", "0", "-1", "1.5", "\u0663"])
def test_a_number_of_processes_that_is_none_is_told_by_its_variable(command, monkeypatch, capsys, value):
    command(lambda args: 0)
    monkeypatch.setenv("nnUNet_def_n_proc", value)
    assert cli.main(["test"]) == 1
    told = capsys.readouterr().err
    assert told == f"cdpd: error: nnUNet_def_n_proc={value}: a number of nnU-Net's processes; give 1 or more, or unset it\n"
    monkeypatch.setenv("nnUNet_def_n_proc", "2")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # in this process
    assert cli.main(["test"]) == 0


def test_a_path_that_is_no_text_is_refused_before_a_reader_crashes(command, monkeypatch, capsys):
    command(lambda args: 0)
    assert cli.main(["test", "--x", os.fsdecode(b"scans\xff")]) == 1
    monkeypatch.setenv("nnUNet_raw", os.fsdecode(b"/data\xff"))
    assert cli.main(["test", "--x", "scans\u00fc"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": holds bytes that are no UTF-8")[0] for line in told] == [
        "cdpd: error: 'scans\\udcff'", "cdpd: error: 'nnUNet_raw=/data\\udcff'"
    ]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
@pytest.mark.parametrize(
    "arguments, told",
    [
        (["predict", "-i", "images", "-o", "", "-m", "model"], "-o ''"),
        (["predict", "-i", "", "-o", "out", "-m", "model"], "-i ''"),
        (["predict", "-i", "images", "--output=", "-m", "model"], "--output ''"),
        (["merge", "1", " ", "-d", "3"], "' '"),
        (["report", ""], "''"),
        (["train", "", "3d_fullres", "0"], "''"),
    ],
)
def test_an_empty_argument_is_not_the_working_folder(arguments, told, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    way_out = f", or leave {told.split()[0]} out" if told.startswith("-") else ""
    assert capsys.readouterr().err == f"cdpd: error: {told}: is empty, as an unset variable is; give a value{way_out}\n"
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_terminal_has_no_letters_for_is_printed_all_the_same():
    script = "import sys; from nnunetv2_cdpd.cli import main as cli, labels; "
    script += "labels.run = lambda args: print(chr(0x2603), chr(0xdcff)); sys.exit(cli.main(['labels', 'x']))"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"\\u2603 \\udcff"), done.stderr


def test_too_little_memory_is_one_line(command, capsys):
    command(raising(MemoryError("Unable to allocate 67.5 TiB")))
    assert cli.main(["test"]) == 1
    assert capsys.readouterr().err == "cdpd: error: needs more memory than there is (Unable to allocate 67.5 TiB)\n"


def test_interruption_is_one_line_and_exit_code_130(command, capsys):
    command(raising(KeyboardInterrupt()))
    assert cli.main(["test"]) == 130
    assert capsys.readouterr().err == "cdpd: interrupted\n"


def test_output_into_a_closed_pipe_ends_quietly():
    script = "import sys; from nnunetv2_cdpd.cli.main import main; sys.exit(main(['link', '--path']))"
    process = subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


@pytest.mark.parametrize(("name", "hint"), [("evalute", "did you mean `cdpd evaluate`"), ("xyz", "choose from doctor, link")])
def test_unknown_command_names_the_valid_ones(name, hint, capsys):
    assert cli.main([name]) == 1
    assert f"unknown command {name!r}; {hint}" in capsys.readouterr().err


def test_exit_code_of_a_command_is_handed_on(command):
    command(lambda args: 3)
    assert cli.main(["test"]) == 3
    command(lambda args: None)
    assert cli.main(["test"]) == 0


def test_unknown_argument_is_refused(command, capsys):
    command(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["test", "--y"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --y" in capsys.readouterr().err


def test_commands_that_lead_on_to_nnunet_link_first(command, monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "ensure_linked", lambda: calls.append("link"))
    command(lambda args: calls.append("run"), links=True)
    cli.main(["test"])
    assert calls == ["link", "run"]
    command(lambda args: calls.append("run"))
    cli.main(["test"])
    assert calls == ["link", "run", "run"]
    assert {name for name, row in COMMANDS.items() if row.links and name != "test"} == {
        "convert",
        "extend",
        "demo",
        "import-official",
        "merge",
    }


@pytest.fixture
def planned(monkeypatch):
    """What nnU-Net's own entry for planning gets, and which planner class its look-up gives it."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api

    calls = []
    monkeypatch.setattr("nnunetv2_cdpd.cli.host_checks.check_planning", lambda rest: None)

    def plan_experiments(dataset_ids, planner_name, *rest):
        folder = plan_and_preprocess_api.nnunetv2.__path__[0] + "/experiment_planning"
        look_up = plan_and_preprocess_api.recursive_find_python_class
        planner = look_up(folder, planner_name, current_module="nnunetv2.experiment_planning")
        calls.append((dataset_ids, planner_name, planner.__name__, rest[0]))

    monkeypatch.setattr("nnunetv2.experiment_planning.plan_and_preprocess_entrypoints.plan_experiments", plan_experiments)
    return calls


def test_plan_hands_arguments_on_and_finds_our_planner(planned, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["before"])
    assert cli.main(["plan", "-d", "400", "7", "-gpu_memory_target", "24"]) == 0
    assert planned == [([400, 7], "nnUNetPlannerCDPD", "nnUNetPlannerCDPD", 24.0)]
    assert sys.argv == ["before"]


@pytest.mark.parametrize("arguments", [["-pl", "nnUNetPlannerCDPDSmall"], ["-pl=nnUNetPlannerCDPDSmall"]])
def test_plan_takes_a_variant_of_our_planner(planned, arguments):
    cli.main(["plan", "-d", "400", *arguments])
    assert planned[0][1:3] == ("nnUNetPlannerCDPDSmall", "nnUNetPlannerCDPDSmall")


def test_plan_names_a_planner_of_ours_that_there_is_not(planned, capsys):
    assert cli.main(["plan", "-d", "400", "-pl", "nnUNetPlannerCDPDSmal"]) == 1
    assert (
        "-pl nnUNetPlannerCDPDSmal: there is no such planner; ours are nnUNetPlannerCDPD, nnUNetPlannerCDPDCPU, "
        in capsys.readouterr().err
    )


def test_plan_still_finds_the_planners_of_nnunet(planned):
    cli.main(["plan", "-d", "400", "-pl", "ResEncUNetPlanner"])
    assert planned[0][1:3] == ("ResEncUNetPlanner", "ResEncUNetPlanner")


def test_accumulate_leaves_a_folder_of_others_alone(tmp_path, nnunet_folders, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    assert cli.main(["accumulate", "400", "-c", "3d_fullres", "-o", str(tmp_path / "mine")]) == 1
    error = capsys.readouterr().err
    assert "mine: exists and is not from `cdpd accumulate`; nothing was changed, move it or give another -o" in error
    assert (tmp_path / "mine" / "precious").exists()


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_nnunets_folders_that_are_set_to_nothing_are_told(variable, nnunet_folders, monkeypatch, capsys):
    monkeypatch.setenv(variable, "")
    assert cli.main(["find-best", "400"]) == 1
    assert f"{variable} is set to nothing; `export {variable}=/path/to/folder`" in capsys.readouterr().err
