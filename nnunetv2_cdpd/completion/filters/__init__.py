"""Filters: what of the teachers' votes on a class in an image is taken; a file each.

- confidence: how probable voxels and structures are
- agreement: whether networks say the same
- outlier: whether volume, place and shape are those of annotated cases
- reliability: whether a teacher was good at a class in its own cross-validation; before any prediction
- finding: what a filter finds; opinion: what becomes of a class by all of them
"""
