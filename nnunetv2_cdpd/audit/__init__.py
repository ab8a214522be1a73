"""Audit nnU-Net raw datasets before they are trained on: `audit_datasets` (what `cdpd audit` calls).

fingerprint   a coarse copy of an image, with its geometry and intensities; store, where it is kept
descriptors   which images may show the same scan, all against all
alignment     whether two of them do, laid on each other in 3D
duplicates    pairs and groups of the same scan
labels        volume and place of what a label map holds
cases         all of this for one case
statistics    volumes per class, geometry per source
checks        what does not look as it should
audit         all of it, as audit.json; page and pictures, as audit.html
"""
