"""Tiny, exact replicas of the public datasets: real names, numbering, formats and values, made from known volumes.

Values are written down here once more, from the datasets' own descriptions, so that a slip in a declaration shows.
"""

import nibabel
import numpy as np

from builders import recent_replicas
from builders.replica import Replica, files, numbered
from builders.replica_files import SHAPE, label_of, make_truth, write_dicom, write_nifti
from builders.totalsegmentator_replicas import totalsegmentator, totalsegmentator_v1, totalsegmentator_v3

BTCV = (
    "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta postcava portal_vein_and_splenic_vein pancreas "
    "right_adrenal_gland left_adrenal_gland"
).split()
WORD = (
    "liver spleen left_kidney right_kidney stomach gallbladder esophagus pancreas duodenum colon intestine adrenal_gland rectum "
    "bladder left_head_of_femur right_head_of_femur"
).split()
AMOS = (
    "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta postcava pancreas right_adrenal_gland "
    "left_adrenal_gland duodenum bladder prostate"
).split()
FLARE22 = (
    "liver right_kidney spleen pancreas aorta postcava right_adrenal_gland left_adrenal_gland gallbladder esophagus stomach "
    "duodenum left_kidney"
).split()
ORGANS12 = (
    "liver kidney spleen pancreas aorta postcava stomach gallbladder esophagus right_adrenal_gland left_adrenal_gland "
    "celiac_trunk"
).split()
KIDNEY_PARTS = ["kidney", "kidney_tumor", "kidney_cyst"]
EIGHT = "spleen left_kidney gallbladder esophagus liver stomach pancreas duodenum".split()


def btcv(folder):
    replica = files(
        "BTCV", folder, ["0001", "0021"], BTCV, "RawData/Training/img/img{}.nii.gz", "RawData/Training/label/label{}.nii.gz"
    )
    write_nifti(folder / "RawData/Testing/img/img0061.nii.gz", make_truth(BTCV, 9).image)
    return replica


def cropping(folder, tcia, btcv_cases, columns=slice(None)):
    """cropping.csv as it is: 10 fields a row under a header of 9 names; rows of TCIA first, whose numbers BTCV uses too."""
    header = "id,publisher,data set,original_id,extent_ant,extent_post,extent_left,extent_rightextent_inf,extent_sup"
    rows = [("TCIA", "Pancreas-CT", case, z) for case, z in tcia.items()]
    rows += [("TCIA", "Pancreas-CT", f"{900 + index:04d}", (0, 9)) for index in range(43 - len(tcia))]
    rows += [("Synapse", "BeyondTheCranialVault", case, z) for case, z in btcv_cases.items()]
    lines = [[str(i), *names, "80", "359", "84", "462", str(z[0]), str(z[1])] for i, (*names, z) in enumerate(rows, start=1)]
    text = [",".join(line[columns]) for line in (header.split(","), *lines)]
    (folder / "cropping.csv").write_text("\n".join(text) + "\n")


def btcv_multiorgan(folder):
    replica = Replica("BTCV_MultiOrgan", folder)
    slices = {"0001": (2, 15), "0061": (0, SHAPE[2])}
    for case, (subset, structures) in {"0001": ("Training", [*BTCV, "duodenum"]), "0061": ("Testing", EIGHT)}.items():
        truth = make_truth(structures, int(case), f"BTCV_MultiOrgan_{14 if subset == 'Training' else 8}")
        names = {value: name for value, name in numbered([*BTCV, "duodenum"]).items() if name in structures}
        write_nifti(folder / f"RawData/{subset}/img/img{case}.nii.gz", truth.image)
        write_nifti(folder / f"label_btcv_multiorgan/label{case}.nii.gz", label_of(truth, names))
        _ignore(truth, *slices[case])
        replica.cases[f"BTCV_MultiOrgan_{case}"] = truth
    cropping(folder, {}, slices)
    return replica


def _ignore(truth, first, end):
    outside = np.ones(SHAPE, bool)
    outside[:, :, first:end] = False
    truth.ignored = outside & ~np.any(list(truth.masks.values()), axis=0)


def _pancreas_label(array_ras, flips):
    """A label in the order of the DICOM slices' columns and rows (LPS), flipped, with a header that says nothing true."""
    in_slices = np.flip(array_ras, (0, 1))
    return nibabel.Nifti1Image(np.ascontiguousarray(np.flip(in_slices, flips)), np.diag([-1, 1, 3, 1.0]))


def pancreas_ct(folder):
    replica = Replica("PancreasCT", folder, skipped={"PancreasCT_0025"})
    (folder / "TCIA_pancreas_labels-02-05-2017").mkdir(parents=True)
    for case, flips in {"0001": (1,), "0002": (), "0025": (), "0082": (2,)}.items():
        truth = make_truth(["pancreas"], int(case))
        series = folder / f"manifest-1599750808610/Pancreas-CT/PANCREAS_{case}/11-24-2015-PANCREAS/Pancreas-18957"
        write_dicom(series, truth.image)
        label = label_of(truth, {1: "pancreas"}, np.float32)
        nibabel.save(_pancreas_label(label, flips), folder / f"TCIA_pancreas_labels-02-05-2017/label{case}.nii.gz")
        replica.cases[f"PancreasCT_{case}"] = truth
    del replica.cases["PancreasCT_0025"]
    return replica


def pancreas_ct_multiorgan(folder):
    replica = Replica("PancreasCT_MultiOrgan", folder)
    (folder / "label_tcia_multiorgan").mkdir(parents=True)
    names = {value: name for value, name in numbered([*BTCV, "duodenum"]).items() if name in EIGHT}
    slices = {"0002": (1, 13), "0016": (0, SHAPE[2])}
    for case, z in slices.items():
        truth = make_truth(EIGHT, 500 + int(case))
        write_dicom(folder / f"Pancreas-CT/PANCREAS_{case}/1/2", truth.image)
        flips = (2,) if case == "0002" else ()
        nibabel.save(_pancreas_label(label_of(truth, names), flips), folder / f"label_tcia_multiorgan/label{case}.nii.gz")
        _ignore(truth, *((SHAPE[2] - z[1], SHAPE[2] - z[0]) if flips else z))
        replica.cases[f"PancreasCT_MultiOrgan_{case}"] = truth
    write_dicom(folder / "Pancreas-CT/PANCREAS_0082/1/2", make_truth(EIGHT, 582).image)  # not labelled
    cropping(folder, slices, {"0001": (0, 9)})
    return replica


def chaos(folder):
    from PIL import Image

    replica = Replica("CHAOS", folder)
    for case, names in {"1": "i{:04d},0000b.dcm", "22": "IMG-0003-{:05d}.dcm"}.items():
        truth = make_truth(["liver"], int(case))
        top_first = case == "1"
        write_dicom(
            folder / f"Train_Sets/CT/{case}/DICOM_anon", truth.image, names=names, slope=2, intercept=-1000, top_first=top_first
        )
        truth.image = (np.rint((truth.image.astype(float) + 1000) / 2) * 2 - 1000).astype(np.int16)  # what steps of 2 HU can hold
        ground = folder / f"Train_Sets/CT/{case}/Ground"
        ground.mkdir(parents=True)
        for z in range(SHAPE[2]):
            picture = np.flip(truth.masks["liver"][:, :, z], (0, 1)).T
            number = SHAPE[2] - 1 - z if top_first else z
            Image.fromarray(picture.astype(np.uint8) * 255).convert("1").save(ground / f"liver_GT_{number:03d}.png")
        replica.cases[f"CHAOS_{case}"] = truth
    write_dicom(folder / "Train_Sets/MR/1/T2SPIR/DICOM_anon", make_truth(["liver"], 3).image, Modality="MR")
    return replica


def lits(folder):
    replica = files("LiTS", folder, ["0"], ["liver", "liver_tumor"], "Training Batch 1/volume-{}.nii",
                     "Training Batch 1/segmentation-{}.nii", nested={"liver_tumor": "liver"}, axes="LPS")  # fmt: skip
    more = files("LiTS", folder, ["100", "130"], ["liver", "liver_tumor"], "Training Batch 2/volume-{}.nii",
                  "Training Batch 2/segmentation-{}.nii", dtype=np.float64, offset=50)  # fmt: skip
    replica.cases |= more.cases
    write_nifti(folder / "LITS-Challenge-Test-Data/test-volume-0.nii", make_truth(["liver"], 9).image)
    return replica


def kits19(folder):
    image, label = "data/case_{}/imaging.nii.gz", "data/case_{}/segmentation.nii.gz"
    nested = {"kidney_tumor": "kidney"}
    replica = files(
        "KITS19", folder, ["00000", "00209"], KIDNEY_PARTS[:2], image, label, nested=nested, axes="IPL", forms="sform"
    )
    # Nine labels have their geometry in the qform only, whose directions are a little off
    truth = make_truth(["kidney", "kidney_tumor"], 15)
    write_nifti(folder / "data/case_00015/imaging.nii.gz", truth.image, "IPL", "sform")
    path = folder / "data/case_00015/segmentation.nii.gz"
    write_nifti(path, label_of(truth, {1: "kidney", 2: "kidney_tumor"}, np.uint16), "IPL", "sform")
    label = nibabel.load(path)
    turned = label.affine @ _rotation(0.001)
    off = nibabel.Nifti1Image(np.asarray(label.dataobj), turned)
    off.set_sform(None, 0)
    off.set_qform(turned, 1)
    nibabel.save(off, path)
    replica.cases["KITS19_00015"] = truth
    write_nifti(folder / "data/case_00210/imaging.nii.gz", truth.image, "IPL", "sform")
    return replica


def _rotation(angle):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


IN_KIDNEY = {"kidney_tumor": "kidney", "kidney_cyst": "kidney"}


def kits21(folder):
    replica = files("KITS21", folder, ["00003", "00299"], KIDNEY_PARTS, "kits21/data/case_{}/imaging.nii.gz",
                     "kits21/data/case_{}/aggregated_MAJ_seg.nii.gz", nested=IN_KIDNEY, axes="IPL", forms="sform")  # fmt: skip
    other = np.zeros(SHAPE, np.uint8)
    write_nifti(folder / "kits21/data/case_00003/aggregated_OR_seg.nii.gz", other)
    write_nifti(folder / "kits21/data/case_00003/segmentations/kidney_instance-1_annotation-1.nii.gz", other)
    return replica


def kits23(folder):
    return files("KITS23", folder, ["00001", "00588"], KIDNEY_PARTS, "kits23/dataset/case_{}/imaging.nii.gz",
                  "kits23/dataset/case_{}/segmentation.nii.gz", nested=IN_KIDNEY, axes="IPL", forms="sform")  # fmt: skip


def word(folder):
    root = "WORD-V0.1.0/"
    replica = files("WORD", folder, ["0002"], WORD, root + "imagesTr/word_{}.nii.gz", root + "labelsTr/word_{}.nii.gz",
                     axes="LPS", forms="qform")  # fmt: skip
    for subset, case in (("Val", "0001"), ("Ts", "0074")):
        more = files("WORD", folder, [case], WORD, f"{root}images{subset}/word_{{}}.nii.gz",
                      f"{root}labels{subset}/word_{{}}.nii.gz", axes="LPS", dtype=np.uint16, offset=int(case))  # fmt: skip
        replica.cases |= more.cases
    write_nifti(folder / root / "imagesTs/word_0014.nii.gz", make_truth(WORD, 14).image)  # labelsTs come separately
    return replica


def abdomen_ct_1k(folder):
    replica = files("AbdomenCT1K", folder, ["00001", "01062"], ["liver", "kidney", "spleen", "pancreas"],
                     "AbdomenCT-1K-ImagePart1/Case_{}_0000.nii.gz", "Mask/Case_{}.nii.gz", axes="RPS")  # fmt: skip
    write_nifti(folder / "AbdomenCT-1K-ImagePart1/Case_00010_0000.nii.gz", make_truth(["liver"], 9).image)  # no public mask
    return replica


def amos22(folder):
    replica = files("AMOS22", folder, ["0001"], AMOS, "amos22/imagesTr/amos_{}.nii.gz", "amos22/labelsTr/amos_{}.nii.gz")
    more = files("AMOS22", folder, ["0008"], AMOS, "amos22/imagesVa/amos_{}.nii.gz", "amos22/labelsVa/amos_{}.nii.gz",
                  axes="LAS", offset=8)  # fmt: skip
    replica.cases |= more.cases
    files("AMOS22", folder, ["0507"], AMOS, "amos22/imagesTr/amos_{}.nii.gz", "amos22/labelsTr/amos_{}.nii.gz")  # MR
    (folder / "__MACOSX/amos22/imagesTr").mkdir(parents=True)
    (folder / "__MACOSX/amos22/imagesTr/._amos_0001.nii.gz").write_bytes(b"\0\5\x16\7")
    return replica


def _msd(name, task, stem, cases, structures, folder, nested=None):
    image, label = (f"{task}/{subset}/{stem}_{{}}.nii.gz" for subset in ("imagesTr", "labelsTr"))
    replica = files(name, folder, cases, structures, image, label, nested=nested, axes="LAS")
    for subset in ("imagesTr", "labelsTr"):
        (folder / f"{task}/{subset}/._{stem}_{cases[0]}.nii.gz").write_bytes(b"\0\5\x16\7")
    write_nifti(folder / f"{task}/imagesTs/{stem}_{cases[0]}9.nii.gz", make_truth(structures, 9).image)
    return replica


def msd_liver(folder):
    return _msd("MSD_Liver", "Task03_Liver", "liver", ["0", "130"], ["liver", "liver_tumor"], folder, {"liver_tumor": "liver"})


def msd_lung(folder):
    return _msd("MSD_Lung", "Task06_Lung", "lung", ["001", "096"], ["lung_tumor"], folder)


def msd_pancreas(folder):
    nested = {"pancreas_tumor": "pancreas"}
    return _msd("MSD_Pancreas", "Task07_Pancreas", "pancreas", ["001", "421"], ["pancreas", "pancreas_tumor"], folder, nested)


def msd_hepatic_vessel(folder):
    structures = ["hepatic_vessel", "hepatic_vessel_tumor"]
    return _msd("MSD_HepaticVessel", "Task08_HepaticVessel", "hepaticvessel", ["001", "458"], structures, folder)


def msd_spleen(folder):
    return _msd("MSD_Spleen", "Task09_Spleen", "spleen", ["2", "63"], ["spleen"], folder)


def msd_colon(folder):
    return _msd("MSD_Colon", "Task10_Colon", "colon", ["001", "219"], ["colon_tumor"], folder)


def ct_org(folder):
    structures = ["liver", "bladder", "lung", "kidney", "bone", "brain"]
    replica = files("CTORG", folder, ["0", "19", "139"], structures, "OrganSegmentations/volume-{}.nii.gz",
                     "OrganSegmentations/labels-{}.nii.gz")  # fmt: skip
    del replica.cases["CTORG_19"]
    replica.skipped = {"CTORG_19"}
    for truth in replica.cases.values():
        del truth.masks["bone"], truth.masks["brain"]
    return replica


def flare22(folder):
    root = "Training/FLARE22_LabeledCase50/"
    return files(
        "FLARE22",
        folder,
        ["0001", "0050"],
        FLARE22,
        root + "images/FLARE22_Tr_{}_0000.nii.gz",
        root + "labels/FLARE22_Tr_{}.nii.gz",
    )


def abdomen_ct_12organ(folder):
    root = "13_AbdomenCT-12organ/"
    return files(
        "AbdomenCT12organ",
        folder,
        ["0001", "0050"],
        ORGANS12,
        root + "img/Organ12_{}_0000.nii.gz",
        root + "label/Organ12_{}.nii.gz",
    )


REPLICAS = (
    btcv, btcv_multiorgan, pancreas_ct, pancreas_ct_multiorgan, chaos, lits, kits19, kits21, kits23, word, abdomen_ct_1k, amos22,
    msd_liver, msd_lung, msd_pancreas, msd_hepatic_vessel, msd_spleen, msd_colon, ct_org, flare22, abdomen_ct_12organ,
    totalsegmentator, totalsegmentator_v1, totalsegmentator_v3, *recent_replicas.REPLICAS,
)  # fmt: skip
