"""Only what is known is resolved: no module of another package is even imported, whatever a file names."""

import sys

import pytest
import torch

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.network import CDPDNet
from nnunetv2_cdpd.trusted import (
    IMAGE_READER,
    LABEL_MANAGER,
    NETWORK,
    NORMALIZATION,
    OPERATION,
    PREPROCESSOR,
    RESAMPLING,
    UNET,
    find_trainer,
    trusted,
)

WHERE, WAY_OUT = "plans.json: `key`", "copy it again"


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("nnunetv2_cdpd.network.CDPDNet", NETWORK, "CDPDNet"),
        ("nnunetv2_cdpd.network.PaperCDPDNet", NETWORK, "PaperCDPDNet"),
        ("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", UNET, "ResidualEncoderUNet"),
        ("torch.nn.modules.conv.Conv3d", OPERATION, "Conv3d"),
        ("torch.nn.LeakyReLU", OPERATION, "LeakyReLU"),
        ("dynamic_network_architectures.building_blocks.residual.BasicBlockD", OPERATION, "BasicBlockD"),
        ("NibabelIOWithReorient", IMAGE_READER, "NibabelIOWithReorient"),
        ("LabelManager", LABEL_MANAGER, "LabelManager"),
        ("DefaultPreprocessor", PREPROCESSOR, "DefaultPreprocessor"),
        ("CTNormalization", NORMALIZATION, "CTNormalization"),
        ("resample_torch_fornnunet", RESAMPLING, "resample_torch_fornnunet"),
        ("cdpd_resample_by_axis", RESAMPLING, "cdpd_resample_by_axis"),
    ],
)
def test_what_nnunet_and_we_name_is_found(name, kind, found):
    assert trusted(name, kind, WHERE, WAY_OUT).__name__ == found


@pytest.mark.parametrize("kind", [NETWORK, UNET, OPERATION])
@pytest.mark.parametrize(
    "name",
    [
        "torch.hub.load",
        "os.system",
        "torch.nn.modules.module.torch.hub.load",  # a function that a known module happens to hold
        "torch.nn.functional.relu",
        "torch.nn.parameter.Parameter",
        "torch.nn",
        "torch.nnevil.Conv3d",
        "of_a_stranger.Network",
        "nnunetv2_cdpd.network.of_a_stranger",
        "",
        5,
        None,
        ["torch.nn.Conv3d"],
    ],
)
def test_all_else_is_refused_by_file_and_key(kind, name):
    with pytest.raises(UserError, match=r"^plans.json: `key` names .*, no .* of .*; copy it again$"):
        trusted(name, kind, WHERE, WAY_OUT)


@pytest.mark.parametrize("kind", [IMAGE_READER, LABEL_MANAGER, PREPROCESSOR, NORMALIZATION, RESAMPLING])
@pytest.mark.parametrize(
    "name", ["os.system", "np", "__name__", "join", "SimpleITK", "CTNormalizationX", "../x", "", 5, None, {}]
)
def test_a_name_that_nnunets_folders_happen_to_hold_is_refused(kind, name):
    with pytest.raises(UserError, match=f"no {kind.what} of "):
        trusted(name, kind, WHERE, WAY_OUT)


@pytest.mark.parametrize(("name", "kind"), [("BaseReaderWriter", IMAGE_READER), ("ImageNormalization", NORMALIZATION)])
def test_what_others_are_made_from_is_none_itself(name, kind):
    with pytest.raises(UserError, match=f"names '{name}', no {kind.what} of "):
        trusted(name, kind, WHERE, WAY_OUT)


def test_a_strangers_module_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "of_a_stranger.py").write_text("open('ran', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for kind in (NETWORK, OPERATION):
        with pytest.raises(UserError):
            trusted("of_a_stranger.Network", kind, WHERE, WAY_OUT)
    assert not (tmp_path / "ran").exists() and "of_a_stranger" not in sys.modules


def test_an_operation_is_no_network_of_ours():
    assert NETWORK.knows(CDPDNet) and not OPERATION.knows(CDPDNet) and not NETWORK.knows(torch.nn.Conv3d)


@pytest.mark.parametrize("name", ["nnUNetTrainerOfNobody", "os.system", "join", "np", "", 5, None])
def test_what_is_no_trainer_is_told(name, capsys):
    with pytest.raises(UserError, match="^x.pth: `trainer_name` names .*, no trainer that is known here; "):
        find_trainer(name, "x.pth: `trainer_name`")
    assert capsys.readouterr().out == ""
