"""nnUNetPlannerCDPD: nnU-Net's default planner for CDPDNet, and one for small networks; see planning/planner.py."""

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from ..planning.planner import CDPDPlanning, SmallPlanning


class nnUNetPlannerCDPD(CDPDPlanning, ExperimentPlanner):
    """Plans for nnUNetTrainerCDPD on a GPU of 8 GB by default (nnU-Net's -gpu_memory_target changes it)."""


class nnUNetPlannerCDPDSmall(SmallPlanning, nnUNetPlannerCDPD):
    """See SmallPlanning: for a laptop without GPU, demo, tests, checking a pipeline."""
