"""Descriptions: what is written is read; what is damaged, newer or contradicts itself is refused in a line."""

import json

import pytest
from builders.portable import make_description

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.portable.description import FORMAT, Description, Normalization


def test_what_is_written_is_read():
    for description in (
        make_description(),
        make_description(spacing=(1.4, 1.1), patch_size=(16, 24), mirror_axes=(0, 1), reorient=True),
        make_description(normalizations=(Normalization("ZScoreNormalization", True, {}),)),
    ):
        assert Description.from_json(description.to_json(), "model.onnx") == description


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("format", "1", "`format` is to be a whole number"),
        ("image", None, "`image.channels` is to be a list of names, and is null"),
        ("image.channels", [], "`image.channels`"),
        ("image.channels", ["CT", "PET"], "1 normalizations for 2 channels|an object per channel"),
        ("image.reorient", 1, "`image.reorient` is to be true or false"),
        ("preprocessing.transpose", [0, 0, 1], "0, 1 and 2 in some order"),
        ("preprocessing.spacing", [1, 1], "`preprocessing.spacing` is to be 3 lengths"),
        ("preprocessing.spacing", [1, 1, 0], "`preprocessing.spacing`"),
        ("preprocessing.spacing", [1, 1, float("nan")], "`preprocessing.spacing`"),
        ("preprocessing.normalization", [{"scheme": "os.system", "use_mask": False}], "`scheme` is to be one of"),
        ("preprocessing.normalization", [{"scheme": "CTNormalization", "use_mask": False}], "`mean` is to be a number"),
        ("preprocessing.resampling.order", 6, "`preprocessing.resampling.order` is to be 0 to 5"),
        ("preprocessing.resampling.threshold", -1, "threshold"),
        ("decoding.resampling.order", 0, "resampled linearly"),
        ("windows.patch_size", [8, 16, 10**9], "`windows.patch_size`"),
        ("windows.patch_size", [8], "`windows.patch_size`"),
        ("windows.mirror_axes", [3], "`windows.mirror_axes`"),
        ("decoding.outputs", [], "`decoding.outputs`"),
        ("decoding.stored", [0, 1, 2], "`decoding.stored` is to be 4 values"),
        ("decoding.stored", [1, 1, 2, 6], "does not begin with 0"),
        ("decoding.stored", [0, 1, 2, 70000], "`decoding.stored`"),
        ("decoding.classes", {"liver": True}, "`decoding.classes`"),
        ("decoding.rivals", [{"parent": 0, "channels": [1]}], "none without a parent"),
        ("decoding.rivals", [{"parent": None, "channels": [0, 3]}], "`decoding.rivals` has"),
        ("decoding.rivals", [{"parent": [], "channels": [0]}], "`decoding.rivals` has"),
        ("decoding.rivals", [{"parent": None, "channels": [0]}] * 2, "`decoding.rivals` has"),
        (
            "decoding.rivals",
            [{"parent": None, "channels": [0]}, {"parent": 1, "channels": [2]}, {"parent": 2, "channels": [1]}],
            "a class holds itself",
        ),
    ],
)
def test_what_is_damaged_is_refused(path, value, told):
    content = json.loads(make_description().to_json())
    *above, last = path.split(".")
    part = content
    for key in above:
        part = part[key]
    part[last] = value
    with pytest.raises(UserError, match=told) as refused:
        Description.from_json(json.dumps(content), "model.onnx")
    assert str(refused.value).startswith("model.onnx: ")


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "3", "null", "[]"])
def test_no_description(text):
    with pytest.raises(UserError, match="its description is damaged"):
        Description.from_json(text, "model.onnx")


def test_a_newer_one_is_named():
    text = json.dumps({"format": FORMAT + 1, "made_by": "nnunetv2-cdpd 9.0"})
    with pytest.raises(UserError, match=r"nnunetv2-cdpd 9.0, whose description is of format 2; this runner reads up to 1"):
        Description.from_json(text, "model.onnx")
