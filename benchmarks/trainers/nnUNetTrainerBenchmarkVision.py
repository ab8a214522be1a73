"""Trainers of evidence about vision tokens: ours with one setting of `vision` each (docs/training.md, "Vision tokens")."""

from typing import Any

from nnUNetTrainerBenchmark import nnUNetTrainerCDPDBenchmark

from nnunetv2_cdpd.training.recipe import Recipe

WHOLE_SLICES = {"whole_slices": True, "slice_scale": 4}  # one token per 4 x 4 voxels


def _with_vision(**vision: Any) -> Recipe:
    return nnUNetTrainerCDPDBenchmark.recipe.with_network(vision=vision)


class nnUNetTrainerCDPDBenchmark_coordinates(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(source="coordinates")


class nnUNetTrainerCDPDBenchmark_coordinatesValues(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(source="coordinates", fusion="values")


class nnUNetTrainerCDPDBenchmark_blocksGate(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(gate="blocks")


class nnUNetTrainerCDPDBenchmark_coordinatesBlocksGate(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(source="coordinates", gate="blocks")


class nnUNetTrainerCDPDBenchmark_scaled(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(slice_scale=4)


class nnUNetTrainerCDPDBenchmark_positions(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(positions="slice")


class nnUNetTrainerCDPDBenchmark_blocks(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(blocks=[3, 6, 9, 12])


class nnUNetTrainerCDPDBenchmark_windows(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(channels="windows")


class nnUNetTrainerCDPDBenchmark_neighbours(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(channels="neighbours")


class nnUNetTrainerCDPDBenchmark_guide(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(guide=0.5)


class nnUNetTrainerCDPDBenchmark_adapters(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(adapters=4)


class nnUNetTrainerCDPDBenchmark_values(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(fusion="values")


class nnUNetTrainerCDPDBenchmark_both(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(fusion="both")


class nnUNetTrainerCDPDBenchmark_wholeSlices(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(**WHOLE_SLICES)


class nnUNetTrainerCDPDBenchmark_wholeSlicesBlocksGate(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(**WHOLE_SLICES, gate="blocks")


class nnUNetTrainerCDPDBenchmark_wholeSlicesValuesBlocksGate(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(**WHOLE_SLICES, fusion="values", gate="blocks")


class nnUNetTrainerCDPDBenchmark_wholeSlicesSum(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(**WHOLE_SLICES, fusion="sum")


class nnUNetTrainerCDPDBenchmark_wholeSlicesDropout(nnUNetTrainerCDPDBenchmark):
    recipe = _with_vision(**WHOLE_SLICES, fusion="values", token_dropout=0.2)
