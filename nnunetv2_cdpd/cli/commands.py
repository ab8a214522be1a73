"""The table of commands, in the order of the workflow, and the parser of each.

A command's module has DESCRIPTION, EXAMPLES (lines as a user types them), add_arguments(parser) and run(args) -> exit code or
None; one that hands arguments on to nnU-Net may have NNUNET_FLAGS, those that messages of ours mean. The module is imported
only when the command is run: `cdpd --help` needs neither torch nor nnU-Net.
"""

import importlib
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from types import ModuleType

from nnunetv2_cdpd import __version__


@dataclass(frozen=True)
class Command:
    """A row of the table of commands.

    group: Heading in `cdpd --help`.
    links: The command leads on to nnU-Net's own, which must find our classes by then.
    takes_any_argument: The command hands what it does not know on to nnU-Net, as args.rest.
    answers: What it prints is what it is called for: there is no --quiet.
    """

    help: str
    group: str = ""
    links: bool = False
    takes_any_argument: bool = False
    answers: bool = False


_START, _DATA, _TRAINING = "to begin with", "data", "training"
_PREDICTION, _RESULTS, _CLUSTER, _SHELL = "prediction", "results", "cluster", "shell"
COMMANDS = {
    "doctor": Command("show what works here and how to mend what does not", _START, answers=True),  # links too, as a check
    "link": Command("let nnU-Net's commands find CDPDNet's trainers and planners", _START),
    "demo": Command("plan, train, predict and evaluate on data made on the spot", _START, links=True),
    "sources": Command("the public datasets that can be converted, and how to get them", _DATA, answers=True),
    "convert": Command("a public dataset, or your own, as an nnU-Net raw dataset", _DATA, links=True),
    "audit": Command("check datasets, find the same scan in two of them", _DATA),
    "merge": Command("join partially labelled datasets into one", _DATA, links=True),
    "labels": Command("show what each source's labels say about each class, and check them", _DATA, answers=True),
    "plan": Command("nnUNetv2_plan_experiment, where nnU-Net cannot be linked", _TRAINING, takes_any_argument=True),
    "embed": Command("make or show the text embeddings of a dataset's prompts", _TRAINING),
    "pretrain": Command("train the vision encoder on CTs without labels", _TRAINING),
    "train": Command("nnUNetv2_train, also under torchrun and on several nodes", _TRAINING, takes_any_argument=True),
    "find-best": Command("nnUNetv2_find_best_configuration on annotated classes", _TRAINING, takes_any_argument=True),
    "accumulate": Command("nnUNetv2_accumulate_crossval_results on annotated classes", _TRAINING, takes_any_argument=True),
    "complete": Command("what sources do not annotate, by trained models: a dataset for stock nnU-Net", _TRAINING),
    "extend": Command("add the classes of a further dataset to a trained model, all that it knew kept", _TRAINING, links=True),
    "import-official": Command("the released CDPDNet as an nnU-Net model folder", _PREDICTION, links=True),
    "card": Command("a model's sources, licenses, scores, limits; as a page, JSON and CycloneDX", _PREDICTION, answers=True),
    "predict": Command("predict images: all classes or some, in little memory", _PREDICTION),
    "serve": Command("predict what clients send over HTTP, also 3D Slicer and OHIF", _PREDICTION),
    "export-onnx": Command("a model as one ONNX file, which runs without PyTorch and nnU-Net", _PREDICTION),
    "clean": Command("clean predictions by what is known of the anatomy", _PREDICTION),
    "evaluate": Command("score predictions on what each source annotates", _RESULTS),
    "report": Command("scores, pictures and volumes as one HTML page", _RESULTS),
    "submit": Command("any of these as jobs of a Slurm cluster, one after the other", _CLUSTER),
    "completion": Command("a script with which the shell completes cdpd's commands and flags", _SHELL, answers=True),
}


def module_of(command: str) -> ModuleType:
    """The module that a command's name says; importing it takes neither torch nor nnU-Net."""
    return importlib.import_module(f"nnunetv2_cdpd.cli.{command.replace('-', '_')}")


def parser_of(name: str) -> ArgumentParser:
    """The parser of a command."""
    parser = ArgumentParser(f"cdpd {name}", allow_abbrev=not COMMANDS[name].takes_any_argument)
    complete_parser(parser, name)
    return parser


def complete_parser(parser: ArgumentParser, name: str) -> None:
    """Give a bare parser the description, the arguments and the examples of a command."""
    command, module = COMMANDS[name], module_of(name)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.description = module.DESCRIPTION.strip()
    module.add_arguments(parser)
    if not command.answers:
        parser.add_argument("-q", "--quiet", action="store_true", help="print errors only; the exit code tells the rest")
    lines = [line for example in module.EXAMPLES for line in example.splitlines()]
    parser.epilog = "\n  ".join(["example:" if len(module.EXAMPLES) == 1 else "examples:", *lines])


def overview_parser() -> ArgumentParser:
    """The parser of `cdpd` alone."""
    width = max(map(len, COMMANDS))
    lines: list[str] = []
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        rows = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items() if command.group == group]
        lines += ["", f"{group}:", *rows] if group else rows
    table = "\n".join(lines)
    parser = ArgumentParser(
        "cdpd",
        usage="cdpd COMMAND ...",
        description="CDPDNet for nnU-Net v2: one segmentation network from many partially labelled datasets.",
        epilog=f"commands, in the order of the work:\n{table}\n\n"
        "`cdpd COMMAND -h` explains a command, with examples. CDPD_DEBUG=1 shows tracebacks.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nnunetv2-cdpd {__version__}")
    return parser
