"""Layers of results: what of their references and predictions is drawn, in which colours."""

from nnunetv2_cdpd.evaluation.results import Results
from nnunetv2_cdpd.pages.layers import Layers, names_by_value, regions_of
from nnunetv2_cdpd.pages.palette import colours_of


def layers_of(results: Results) -> Layers:
    """Layers of results, with a colour for every class and union that the page may show."""
    sides = results.reference, results.prediction
    regions = [regions_of(side) for side in sides]
    return Layers(
        *regions,
        *(names_by_value(side) for side in sides),
        colours_of((*results.prediction.classes, *regions[1], *regions[0], *results.class_names)),
    )
