"""The same scan in two images: coarse copies of both, compared.

- fingerprint: a coarse copy of an image, with its geometry and intensities
- store: where fingerprints are kept
- descriptors: which images may show the same scan, all against all
- alignment: whether two of them do, laid on each other in 3D
- pairs: pairs and groups of the same scan
"""
