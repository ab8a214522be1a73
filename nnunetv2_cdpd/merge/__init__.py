"""Merge nnU-Net raw datasets into one multi-source dataset: `merge_datasets` (what `cdpd merge` calls).

spec        the optional YAML: what the labels of each dataset are called in the merged one, how classes nest
inputs      the datasets that go in
nesting     which class lies in which, from the YAML, the datasets' regions and the class table
plan        classes, stored values, sources; for each dataset: its stored value -> merged value
cases       one case: checked, label map rewritten
duplicates  cases of the same scan, and those that a test set holds
folds       splits_final.json that keeps the same scan in one fold
scoped      classes that stay apart from those of other sources: `pancreas@MSD`
run         all of it, in processes, resumable
summary     the table at the end
"""

from nnunetv2_cdpd.merge.run import merge_datasets

__all__ = ["merge_datasets"]
