"""Merge nnU-Net raw datasets into one multi-source dataset: `merge_datasets` (what `cdpd merge` calls).

- spec: the optional YAML: what the labels of each dataset are called in the merged one, how classes nest
- sources: the sources of the merged dataset
- licensing: which sources are kept for a use, by what their licenses allow
- naming: what each label is called in it
- nesting: which class lies in which, from the YAML, the datasets' regions and the class table
- plan: classes, stored values, sources; for each dataset: its stored value -> merged value
- cases: one case: checked, label map rewritten
- collect: the cases of all datasets, checked without opening an image
- duplicates: cases of the same scan, and those that a test set holds
- folds: splits_final.json that keeps the same scan in one fold
- output: whose the folder is, and its dataset.json
- readers: which of nnU-Net's readers it asks for
- scoped: classes that stay apart from those of other sources: `pancreas@MSD`
- run: all of it, in processes, resumable
- telling: the table of names, and what a person should look at
- written_spec: the YAML that was inferred
- summary: the table at the end
"""

from nnunetv2_cdpd.merge.run import merge_datasets

__all__ = ["merge_datasets"]
