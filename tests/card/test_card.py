"""The card of a model folder: what is in it, what it says it does not know, its form, its list of components."""

import hashlib
import json
import re

import pytest
from builders.card import ANNOTATION, CLASSES, model_place, write_fold, write_summary, write_trained

from nnunetv2_cdpd.annotation import Annotation, Source
from nnunetv2_cdpd.card.components import components_json
from nnunetv2_cdpd.card.files import card_of
from nnunetv2_cdpd.card.markdown import card_markdown
from nnunetv2_cdpd.card.shape import CARD
from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs.shapes import check_shape

DICE = {
    "LIV_0001": {"liver": 0.9, "liver_tumor": 0.5},
    "LIV_0002": {"liver": 0.7, "liver_tumor": None},
    "KID_0001": {},  # nothing that it is scored on
    "ORG_0001": {"liver": 0.8, "right_kidney": 0.0, "left_kidney": 1.0, "spleen": 0.6},
}


@pytest.fixture
def model(tmp_path):
    return write_trained(model_place(tmp_path / "results"))


def card(folder, **options):
    made = card_of(folder, **options)[1]
    check_shape(json.loads(json.dumps(made, allow_nan=False)), CARD, "card", "-")
    return made


def by_name(entries):
    return {entry["name"]: entry for entry in entries}


def test_every_source_is_named_with_its_cases_license_and_citation(model):
    made = card(model)
    sources = by_name(made["sources"])
    assert list(sources) == ["LiTS", "Kidney", "Organs"]
    assert [source["cases"] for source in sources.values()] == [2, 1, 2]
    assert sources["LiTS"]["reference"] == "Bilic et al., 2023" and "codalab" in sources["LiTS"]["link"]
    assert sources["Kidney"]["merged_labels"] == {"kidney": ["right_kidney", "left_kidney"]}
    assert sources["Kidney"]["license"] == "see our website" and sources["Kidney"]["license_names"] == []
    assert sources["Organs"]["allows"] == {"commercial": True, "research": True, "redistribution": True}
    # dataset.json says SA, the table of public datasets that LiTS may be NC-ND: both bind, and it is told
    assert sources["LiTS"]["allows"]["commercial"] is False and "CC BY-NC-ND 4.0" in sources["LiTS"]["license_note"]
    assert made["allows"] == {"commercial": False, "research": None, "redistribution": None}
    assert made["share_alike"] == ["CC-BY-SA-4.0"]
    assert "source Kidney: its license is none that the table knows" in made["why_not"]["research"]
    text = card_markdown(made)
    for name in (*sources, *CLASSES, "see our website", "Bilic et al., 2023"):
        assert name in text


def test_classes_folds_and_training(model):
    write_fold(model, "1", checkpoint="checkpoint_best.pth")
    made = card(model)
    classes = by_name(made["classes"])
    assert classes["liver_tumor"] == {"name": "liver_tumor", "value": 2, "lies_in": ["liver"], "annotated_by": ["LiTS"]}
    assert classes["right_kidney"]["annotated_by"] == ["Kidney", "Organs"]
    folds = by_name(made["model"]["folds"])
    checksum = hashlib.sha256((model / "fold_0/checkpoint_final.pth").read_bytes()).hexdigest()
    assert folds["0"] == {"name": "0", "checkpoint": "checkpoint_final.pth", "sha256": checksum, "epochs": 7, "finished": True}
    assert not folds["1"]["finished"] and "Not trained to the end: fold 1." in made["limits"]
    assert (made["training"]["num_epochs"], made["training"]["initial_lr"]) == (7, 0.0004)
    assert made["training"]["patch_size"] == [8, 16, 24]


def test_weights_and_packages_with_their_licenses(model):
    made = card(model)
    vision, text = made["weights"]
    assert (vision["name"], vision["license"], vision["sha256"]) == ("vit_tiny_patch16_224", "Apache-2.0", ["ab" * 32])
    assert (text["name"], text["license"]) == ("ViT-B-32/openai", "MIT")
    assert made["made_with"]["python"] == "3.11.7"
    assert by_name(made["made_with"]["packages"])["torch"]["version"] == "2.9.0"


@pytest.mark.parametrize(
    ("kind", "license", "note"),
    [("pretrained", "Apache-2.0", None), ("file", None, "a release of this name has Apache-2.0")],
)
def test_named_encoder_goes_by_its_own_name_and_license(tmp_path, kind, license, note):
    weights = [{"part": "vision encoder", "name": "meddinov3", "kind": kind, "sha256": "ab" * 32}]
    folder = write_trained(tmp_path / "m", provenance={"weights": weights}, encoder="learned")
    plans = json.loads((folder / "plans.json").read_text())
    vision = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["vision"]
    vision |= {"encoder": "meddinov3", "model_name": "vit_base_patch16_dinov3", "mean": [0.5] * 3, "std": [0.1] * 3}
    (folder / "plans.json").write_text(json.dumps(plans))
    entry = card(folder)["weights"][0]
    assert (entry["name"], entry["license"], entry["note"]) == ("meddinov3", license, note)


@pytest.mark.parametrize(
    ("kind", "origin", "license", "needs"),
    [
        ("file", "a file that the user gave", None, True),
        ("random", "random, by choice; not pretrained", None, False),
        ("brought", "came with the weights that the training began with", None, True),
        ("<script>", "not known", None, True),
    ],
)
def test_weights_of_other_origin_get_no_license_by_their_name(tmp_path, kind, origin, license, needs):
    weights = [{"part": "vision encoder", "name": "x", "kind": kind, "sha256": None}]
    made = card(write_trained(tmp_path / "m", provenance={"weights": weights}, encoder="learned"))
    vision, text = made["weights"]
    assert (vision["origin"], vision["license"], vision["needs_license"]) == (origin, license, needs)
    assert text["origin"] == "learned with the network, from no text" and not text["needs_license"]
    assert any("vision encoder" in line for line in made["not_known"]) == needs


def test_how_a_file_of_weights_was_pretrained_is_told(tmp_path):
    told = "pretrained without labels (DINOv2), 6 iterations on 3 images of Dataset400_MultiCT, from nothing"
    weights = [{"part": "vision encoder", "name": "x", "kind": "file", "sha256": "ab" * 32, "pretraining": told}]
    made = card(write_trained(tmp_path / "m", provenance={"weights": weights}))
    assert made["weights"][0]["origin"] == f"a file that the user gave; {told}"


def test_scores_are_means_over_the_annotated_cases(model):
    assert card(model)["scores"] is None
    write_summary(model / "fold_0/validation", DICE)
    made = card(model)
    scores = by_name(made["scores"]["classes"])
    assert {name: entry["dice"] for name, entry in scores.items()} == {
        "liver": 0.8,
        "liver_tumor": 0.5,
        "right_kidney": 0.0,
        "left_kidney": 1.0,
        "spleen": 0.6,
    }
    assert [scores["liver_tumor"][key] for key in ("cases", "present", "missed")] == [2, 1, 0]
    assert scores["right_kidney"]["missed"] == 1
    low, high = scores["liver"]["interval"]
    assert 0.7 <= low < 0.8 < high <= 0.9 and scores["spleen"]["interval"] is None  # of one case there is none
    assert made["scores"]["dice"] == pytest.approx((0.8 + 0.5 + 0 + 1 + 0.6) / 5)
    sources = by_name(made["scores"]["sources"])
    assert sources["LiTS"]["dice"] == pytest.approx((0.8 + 0.5) / 2) and sources["Organs"]["dice"] == pytest.approx(0.6)
    assert "Sources without a scored case: Kidney." in made["not_measured"]
    assert "Mean Dice below 0.5: right_kidney." in made["limits"]
    assert "95 % interval by bootstrap" in made["scores"]["protocol"]


def test_nnunets_own_summary_counts_only_what_the_source_annotates(model):
    write_summary(model / "fold_0/validation", DICE, ours=False)  # 0 for all that a source does not annotate
    made = card(model)
    assert by_name(made["scores"]["classes"])["liver"]["dice"] == pytest.approx(0.8)
    assert by_name(made["scores"]["classes"])["spleen"]["cases"] == 1
    assert "nnU-Net's own function" in made["scores"]["protocol"]


def test_the_joined_cross_validation_goes_before_single_folds_and_folds_without_scores_are_told(model):
    write_fold(model, "1")
    write_fold(model, "2")
    write_summary(model / "fold_0/validation", {"ORG_0001": DICE["ORG_0001"]})
    made = card(model)
    assert made["scores"]["folds"] == ["0"] and any("Fold 1, 2: no scores" in line for line in made["not_measured"])
    write_summary(model / "crossval_results_folds_0_1", DICE)
    made = card(model)
    assert made["scores"]["folds"] == ["0", "1"] and made["scores"]["cases"] == 3
    assert [entry["name"] for entry in made["scores"]["files"]] == ["crossval_results_folds_0_1/summary.json"]


def test_fold_all_is_no_cross_validation(tmp_path):
    model = write_trained(tmp_path / "m", folds=("all",))
    write_summary(model / "fold_all/validation", DICE)
    assert "on cases that it was trained on" in card(model)["scores"]["protocol"]


def test_ensembles_are_told_and_are_no_models(model):
    other = model.name.replace("3d_fullres", "2d")
    place = model.parent / "ensembles" / f"ensemble___{model.name}___{other}___0_1"
    write_summary(place, DICE)
    assert card(model)["ensembles"] == [{"models": [model.name, other], "dice": 0.5}]
    with pytest.raises(UserError, match=f"an ensemble, which holds no weights; .*{model.name} and {other}"):
        card(place)


def test_a_model_of_before_and_of_another_trainer_says_what_is_not_known(tmp_path):
    annotation = Annotation(("liver",), (1,), ((1,),), (Source("Mine", ("liver",)),))
    model = write_trained(tmp_path / "m", annotation=annotation, provenance=None, labels={"background": 0, "liver": 1}, cdpd=None)
    content = json.loads((model / "dataset.json").read_text())
    for key in ("cdpd", "regions_class_order"):
        del content[key]
    (model / "dataset.json").write_text(json.dumps({**content, "name": "Mine", "numTraining": 9, "licence": "CC-BY-SA 4.0"}))
    plans = json.loads((model / "plans.json").read_text())
    unet = {"network_class_name": "somebodys.own.Network", "arch_kwargs": {"n_stages": 3}, "_kw_requires_import": []}
    plans["configurations"]["3d_fullres"]["architecture"] = unet
    (model / "plans.json").write_text(json.dumps(plans))
    made = card(model)
    (source,) = made["sources"]
    assert (source["name"], source["cases"], source["license_names"]) == ("Mine", 9, ["CC-BY-SA-4.0"])
    assert made["weights"] == [] and made["made_with"]["packages"] == [{"name": "torch", "version": "2.9.0", "license": None}]
    assert any(line.startswith("Which packages trained it, but for torch") for line in made["not_known"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "plans.json").unlink(), "no plans.json, so no training has begun here"),
        (lambda m: (m / "dataset.json").unlink(), "dataset.json: no such file"),
        (lambda m: (m / "dataset.json").write_text("{"), "dataset.json: cannot be read as JSON"),
        (lambda m: (m / "fold_0/checkpoint_final.pth").write_bytes(b"PK"), "checkpoint_final.pth: cut off, damaged"),
        (lambda m: (m / "cdpd_card.json").write_text("{}"), "cdpd_card.json: `card_version` is missing"),
        (lambda m: write_summary(m / "fold_0/validation", {}).write_text("[]"), "summary.json: holds"),
    ],
)
def test_half_written_folders_end_in_one_line(model, spoil, message):
    spoil(model)
    with pytest.raises(UserError, match=message) as error:
        card(model)
    assert "\n" not in str(error.value)


def test_a_folder_without_checkpoint_or_debug_has_a_card_that_says_so(tmp_path):
    model = write_trained(tmp_path / "m", folds=())
    (model / "fold_0").mkdir()
    made = card(model)
    assert made["model"]["folds"][0]["checkpoint"] is None
    assert any(line.startswith("No checkpoint") for line in made["not_known"])
    with pytest.raises(UserError, match="give the folder above it"):
        card(model / "fold_0")


def test_the_list_of_components_is_valid_and_names_everything(model):
    validators = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    made = card(model, words={"license": ["CC BY-NC 4.0"], "description": ["Ours"]})
    text = components_json(made)
    assert validators.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    model_component = bom["metadata"]["component"]
    assert model_component["type"] == "machine-learning-model"
    assert model_component["licenses"] == [{"license": {"id": "CC-BY-NC-4.0"}}]
    assert model_component["components"][0]["hashes"] == [{"alg": "SHA-256", "content": made["model"]["folds"][0]["sha256"]}]
    parts = {(part["type"], part["name"]): part for part in bom["components"]}
    assert {name for kind, name in parts if kind == "data"} == {"LiTS", "Kidney", "Organs"}
    assert parts["data", "Organs"]["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert parts["data", "Kidney"]["licenses"] == [{"license": {"name": "see our website"}}]
    assert parts["machine-learning-model", "ViT-B-32/openai"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert parts["library", "torch"]["purl"] == "pkg:pypi/torch@2.9.0"
    assert parts["library", "odd"]["licenses"] == [{"license": {"name": "A license of its own"}}]
    depends = next(entry for entry in bom["dependencies"] if entry["ref"] == "model")
    assert len(depends["dependsOn"]) == len(bom["components"]) == 3 + 2 + 3
    assert components_json(made) == text  # the same card gives the same list


def test_the_metadata_is_yaml_that_the_hub_takes(model):
    import yaml

    for license, expected in ((None, {}), ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}), ('ours: "x"', {"license": "other"})):
        text = card_markdown(card(model, words={} if license is None else {"license": [license]}))
        block = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])
        assert block["library_name"] == "nnunetv2" and expected.items() <= block.items()
        assert block.get("license_name") == (license if expected.get("license") == "other" else None)


def test_an_annotation_without_cases_is_counted_as_not_known(tmp_path):
    from dataclasses import replace

    made = card(write_trained(tmp_path / "m", annotation=replace(ANNOTATION, case_source={})))
    assert [source["cases"] for source in made["sources"]] == [None] * 3
    assert "How many cases these sources gave: LiTS, Kidney, Organs." in made["not_known"]


@pytest.mark.parametrize(
    "provenance",
    [
        "[[[",
        '{"weights": 5}',
        '{"weights": [{"part": "vision encoder"}], "packages": [1]}',
        "[]",
        5,
        '{"weights": [], "packages": 7}',
    ],
)
def test_a_provenance_of_somebody_else_is_not_known(tmp_path, provenance):
    model = write_trained(tmp_path / "m", provenance=None)
    path = model / "fold_0/debug.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "provenance": provenance}))
    made = card(model)
    assert made["weights"][0]["origin"] == "not known"
    assert [package["name"] for package in made["made_with"]["packages"]] == ["torch"]


def test_plans_and_summaries_of_somebody_else(model):
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= {"vision": [1], "text": "x"}
    (model / "plans.json").write_text(json.dumps(plans))
    path = write_summary(model / "fold_0/validation", DICE, ours=False)
    path.write_text(json.dumps({**json.loads(path.read_text()), "cdpd": "x"}))
    made = card(model)
    assert made["weights"] == [] and by_name(made["scores"]["classes"])["liver"]["dice"] == pytest.approx(0.8)


def test_a_continued_training_keeps_what_it_began_with():
    from nnunetv2_cdpd.training.provenance import WeightsOrigin, installed_packages, read_provenance, training_provenance

    first = training_provenance([WeightsOrigin("vision encoder", "v", "file", "ab", "/a/path")], None)
    assert "/a/path" not in first
    debug = {"provenance": first}
    again = read_provenance(
        {"provenance": training_provenance([WeightsOrigin("vision encoder", "v", "brought", None, "")], debug)}
    )
    assert [(entry["kind"], entry["sha256"]) for entry in again["weights"]] == [("file", "ab")]
    assert again["earlier_packages"] == [] and again["packages"] == installed_packages()
    older = read_provenance(debug) | {"packages": {**installed_packages(), "torch": ["0.1", None], "gone": ["1", "MIT"]}}
    later = read_provenance({"provenance": training_provenance([], {"provenance": json.dumps(older)})})
    assert later["earlier_packages"] == [{"torch": ["0.1", None], "gone": ["1", "MIT"]}]
