"""Facts for the clean-up: what the released post-processing does with each structure of the class table.

Source: CDPDNet's released code (arXiv 2505.18958). Structures that appear nowhere here keep what was predicted.
"""

# Organs and tumors of which the released code keeps the largest component.
ONE_PIECE = (
    "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "postcava", "pancreas",
    "right_adrenal_gland", "left_adrenal_gland", "duodenum", "colon", "intestine", "rectum", "bladder", "prostate",
    "left_head_of_femur", "right_head_of_femur", "celiac_trunk", "colon_tumor",
)  # fmt: skip

# Tumors that the released code masks with their organ, closed and dilated by a cube of 5 voxels of 1.5 mm.
INSIDE_ORGAN = ("kidney_tumor", "liver_tumor")
REACH_MM = 3.0  # from the middle of that cube to its outermost voxels

# A second component of a pair of organs that is smaller than this share of the first is none of them: the two touch.
SMALLEST_OF_PAIR = 0.1
