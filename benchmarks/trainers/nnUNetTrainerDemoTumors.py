"""Trainers of tumors.py: the demo's, with what its kidney tumors were lost by, or not."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
from nnUNetTrainerBenchmark import Benchmark

from nnunetv2_cdpd.trainers.nnUNetTrainerCDPDDemo import nnUNetTrainerCDPDDemo


class nnUNetTrainerDemoTumors(Benchmark, nnUNetTrainerCDPDDemo):
    """As the demo trains, with the Dice of each patch."""

    recipe = replace(nnUNetTrainerCDPDDemo.recipe, seed=int(os.environ.get("BENCHMARK_SEED", "0")), batch_dice=False)


class nnUNetTrainerDemoTumors_batchDice(nnUNetTrainerDemoTumors):
    recipe = replace(nnUNetTrainerDemoTumors.recipe, batch_dice=True)


class nnUNetTrainerDemoTumors_spread(nnUNetTrainerDemoTumors):
    """The patches of a batch are of different sources."""

    def get_dataloaders(self) -> tuple[Any, Any]:
        training, validation = super().get_dataloaders()
        loader = training.data_loader  # in this process, as nnUNet_n_proc_DA is 0
        sources = np.array([loader._data.sources[case] for case in loader.indices])
        cases = {source: np.asarray(loader.indices)[sources == source] for source in np.unique(sources)}

        def spread() -> list[str]:
            return [np.random.choice(cases[source]) for source in np.random.permutation(list(cases))[: loader.batch_size]]

        loader.get_indices = spread
        return training, validation
