"""The same scan in two images: coarse copies of both, compared."""
