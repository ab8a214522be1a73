"""Public datasets, one file each: what each annotates, under which license, and how it becomes an nnU-Net raw dataset.

`DATASET` of every file that does not begin with `_` is found by itself; docs/conversion.md shows how to add one.
"""
