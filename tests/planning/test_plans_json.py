"""plans.json is told by file and key, and nothing that it names is run."""

import copy
import json

import pytest
from builders import model as tiny_model

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.planning.plans_json import read_plans

PLANS = tiny_model.make_plans()
HERE = f"configurations: {tiny_model.CONFIGURATION}"


def read(tmp_path, plans, **options):
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    return read_plans(tmp_path / "plans.json", "copy it again", **options)


def changed(place, value):
    """The plans with another value at a place; None in the place of `...` takes it away."""
    plans = copy.deepcopy(PLANS)
    at = plans
    *way, last = (
        place.replace("HERE", f"configurations/{tiny_model.CONFIGURATION}").replace("KW", "architecture/arch_kwargs").split("/")
    )
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return plans


def test_good_plans_are_as_they_are_in_the_file(tmp_path):
    assert read(tmp_path, PLANS) == PLANS


def test_our_resampling_becomes_the_hosts_which_is_found_without_a_link(tmp_path):
    plans = changed("HERE/resampling_fn_data", "cdpd_resample_by_axis")
    plans["configurations"]["2d"] = {"inherits_from": tiny_model.CONFIGURATION}
    read_from_file = read(tmp_path, plans)
    assert read_from_file["configurations"].pop("2d") == {"inherits_from": tiny_model.CONFIGURATION}
    assert read_from_file == PLANS


@pytest.mark.parametrize("value", [..., 5, None, [], "x", {}], ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        *("image_reader_writer", "transpose_forward", "configurations", "HERE/patch_size", "HERE/spacing"),
        *("HERE/normalization_schemes", "HERE/use_mask_for_norm", "HERE/architecture", "HERE/preprocessor_name"),
        *("HERE/resampling_fn_seg", "HERE/KW/n_stages", "HERE/KW/strides", "HERE/KW/unet_class_name", "HERE/KW/text"),
        *("HERE/architecture/network_class_name", "HERE/architecture/_kw_requires_import", "HERE/KW/vision/model_name"),
    ],
)
def test_an_entry_of_another_kind_is_told_with_file_and_key(place, value, tmp_path):
    if (place, value) == ("HERE/architecture/_kw_requires_import", []) or (place, value) == ("HERE/KW/n_stages", 5):
        value = "x"  # these alone are of the right kind
    with pytest.raises(UserError) as error:
        read(tmp_path, changed(place, value))
    told = str(error.value)
    assert told.startswith(f"{tmp_path}/plans.json: `") and place.rsplit("/", 1)[-1] in told and told.endswith("; copy it again")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("transpose_forward", [0, 0, 1], "`transpose_forward` is [0, 0, 1], not an order of the axes 0, 1, 2"),
        ("transpose_backward", [2, 1, 0], "`transpose_backward` does not undo `transpose_forward`"),
        ("HERE/patch_size", [8, 16], f"`{HERE}: patch_size` and `spacing` have different numbers of axes"),
        ("HERE/inherits_from", "nobody", f"`{HERE}: inherits_from` is 'nobody', not another one of 3d_fullres"),
        ("HERE/inherits_from", "3d_fullres", f"`{HERE}: inherits_from` is '3d_fullres', not another one of 3d_fullres"),
        ("HERE/KW/n_stages", 2, f"`{HERE}: architecture: arch_kwargs: strides` has 3 entries for 2 stages"),
        ("HERE/KW/fused_stages", [1, 7], f"`{HERE}: architecture: arch_kwargs: fused_stages` is [1, 7] of 3 stages"),
        (
            "HERE/KW/text/class_prompts",
            ["a", " "],
            f"`{HERE}: architecture: arch_kwargs: text: class_prompts: 1` is ' ', not a text",
        ),
        (
            "HERE/KW/text/class_prompts",
            ["a", ["b", ""]],
            f"`{HERE}: architecture: arch_kwargs: text: class_prompts: 1` is ['b', ''], not a text or a list of texts",
        ),
        ("HERE/KW/text/permuted", 1, f"`{HERE}: architecture: arch_kwargs: text: permuted` is 1, not true or false"),
        ("HERE/KW/task/prompts", [""], f"`{HERE}: architecture: arch_kwargs: task: prompts: 0` is '', not a text"),
        ("HERE/KW/nonsense", 1, f"`{HERE}: architecture: arch_kwargs` has nonsense, which PlainConvUNet has not"),
        ("HERE/resampling_fn_data_kwargs", {"no": 1}, "` has no, which resample_data_or_seg_to_shape has not"),
        ("HERE/resampling_fn_data", "cdpd_resample_unknown", "names 'cdpd_resample_unknown', no function that resamples"),
        ("HERE/architecture/_kw_requires_import", ["x"], "`_kw_requires_import` lists 'x', which `arch_kwargs` has not"),
        ("HERE/KW/vision/fusion", "keys", "vision: fusion` is 'keys', not one of queries, values, both, sum"),
        ("HERE/KW/vision/token_dropout", 1, "vision: token_dropout` is 1, not a number from 0 to below 1"),
        ("HERE/KW/vision/blocks", [0], "vision: blocks: 0` is 0, not a whole number from 1 on"),
        ("HERE/KW/vision/slice_scale", 0, "vision: slice_scale` is 0, not a number above 0 or null"),
        ("HERE/KW/vision/fusions", "sum", "vision` has fusions, which is no setting ("),
        ("HERE/KW/vision/model_name", "hf-hub:of/a_stranger", "model_name` is 'hf-hub:of/a_stranger', no model of timm"),
        ("HERE/KW/vision/encoder", "rad-dino", "encoder` is 'rad-dino', whose `mean` and `std` are missing"),
        ("HERE/KW/vision/std", [1, 2, 0], "vision: std: 2` is 0, not a number above 0"),
        ("HERE/KW/vision/model_kwargs", {"checkpoint_path": "x.pth"}, "has checkpoint_path, which plans may not choose"),
    ],
)
def test_entries_that_contradict_each_other_are_told(place, value, told, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, changed(place, value))
    assert told.replace("`_kw", "_kw") in str(error.value).replace("`_kw", "_kw")


def test_a_class_may_have_several_sentences(tmp_path):
    plans = changed("HERE/KW/text/class_prompts", ["a", ["b", "c"]])
    assert read(tmp_path, plans) == plans


def test_encoder_of_another_architecture_is_told(tmp_path):
    plans = changed("HERE/KW/vision/encoder", "meddinov3")
    vision = plans["configurations"][tiny_model.CONFIGURATION]["architecture"]["arch_kwargs"]["vision"]
    vision |= {"mean": [0.5] * 3, "std": [0.5] * 3}
    with pytest.raises(
        UserError, match="encoder` is 'meddinov3', a vit_base_patch16_dinov3, and `model_name` is 'vit_tiny_patch16"
    ):
        read(tmp_path, plans)
    vision["model_name"] = "vit_base_patch16_dinov3"
    assert read(tmp_path, plans) == plans


@pytest.mark.parametrize(
    "place",
    [
        *(
            "HERE/architecture/network_class_name",
            "HERE/KW/unet_class_name",
            "HERE/KW/conv_op",
            "HERE/KW/norm_op",
            "HERE/KW/nonlin",
        ),
        *("HERE/KW/dropout_op", "image_reader_writer", "label_manager", "HERE/preprocessor_name", "HERE/resampling_fn_data"),
        *("HERE/resampling_fn_probabilities",),
    ],
)
def test_only_what_is_known_is_resolved(place, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("open('imported', 'w')\n\ndef run(**anything):\n    open('called', 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("stranger.run", "torch.hub.load", "stranger"):
        with pytest.raises(UserError, match=rf"plans.json: `.*{place.rsplit('/', 1)[-1]}` names '{name}', no "):
            read(tmp_path, changed(place, name))
    assert {path.name for path in tmp_path.iterdir()} == {"plans.json", "stranger.py"}


def test_an_argument_that_plans_have_resolved_is_looked_up_too(tmp_path):
    plans = changed("HERE/KW/conv_bias", "os.system")
    plans["configurations"][tiny_model.CONFIGURATION]["architecture"]["_kw_requires_import"].append("conv_bias")
    with pytest.raises(UserError, match="arch_kwargs: conv_bias` names 'os.system', no part of a network"):
        read(tmp_path, plans)


def test_scoring_needs_no_network(tmp_path):
    """A user's own network is trained by nnU-Net's command; what scores its predictions does not build it."""
    plans = changed("HERE/architecture/network_class_name", "of_a_user.Network")
    assert read(tmp_path, plans, networks=False) == plans
