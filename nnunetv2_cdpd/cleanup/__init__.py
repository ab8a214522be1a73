"""Clean-up of predicted label maps by anatomy: the released post-processing of CDPDNet, driven by the class table.

- table: which structures are of one piece, which tumors stay in their organ
- labelled_volume: a label map with its classes: regions, components, boxes
- rules: the rules, one function each, by name
- clean: apply rules to a label map
- folder: a folder of predictions (`cdpd clean`)
"""

from nnunetv2_cdpd.cleanup.clean import clean_label_map

__all__ = ["clean_label_map"]
