"""Trainers of openkbp_vision.py: nnUNetTrainerCDPDSmall under a seed, with and without vision tokens."""

import os
from dataclasses import replace

from nnUNetTrainerBenchmark import Benchmark

from nnunetv2_cdpd.trainers.variants import nnUNetTrainerCDPDSmall


class nnUNetTrainerOpenKBP(Benchmark, nnUNetTrainerCDPDSmall):
    recipe = replace(nnUNetTrainerCDPDSmall.recipe, seed=int(os.environ.get("BENCHMARK_SEED", "0")))


class nnUNetTrainerOpenKBP_noVision(nnUNetTrainerOpenKBP):
    recipe = nnUNetTrainerOpenKBP.recipe.with_network(vision_tokens=False)
