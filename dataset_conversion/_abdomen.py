"""Facts that several abdominal collections share."""

BTCV_VALUES = {
    1: "spleen",
    2: "right_kidney",
    3: "left_kidney",
    4: "gallbladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "postcava",
    10: "portal_vein_and_splenic_vein",
    11: "pancreas",
    12: "right_adrenal_gland",
    13: "left_adrenal_gland",
}
MULTIORGAN_VALUES = {**BTCV_VALUES, 14: "duodenum"}
EIGHT_ORGANS = ("spleen", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "pancreas", "duodenum")
MULTIORGAN_REFERENCE = (
    "Gibson et al., Automatic Multi-organ Segmentation on Abdominal CT with Dense V-networks, IEEE TMI 2018, "
    "doi:10.1109/TMI.2018.2806309"
)
KIDNEY = {"kidney": ("right_kidney", "left_kidney")}
LUNG = {"lung": ("right_lung", "left_lung")}
ADRENAL_GLAND = {"adrenal_gland": ("right_adrenal_gland", "left_adrenal_gland")}
