"""nnUNetPlannerCDPD: nnU-Net's default planner for CDPDNet, and those for small networks (planning/ has what they do)."""

from ..planning.cpu_planner import CPUPlanning
from ..planning.planner import CDPDPlanning
from ..planning.small_planner import DemoPlanning, SmallPlanning


class nnUNetPlannerCDPD(CDPDPlanning):
    """Plans for nnUNetTrainerCDPD on a GPU of 8 GB by default (nnU-Net's -gpu_memory_target changes it)."""


class nnUNetPlannerCDPDSmall(SmallPlanning, nnUNetPlannerCDPD):
    """See SmallPlanning: for a laptop without GPU, demo, tests, checking a pipeline."""


class nnUNetPlannerCDPDDemo(DemoPlanning, nnUNetPlannerCDPDSmall):
    """See DemoPlanning: what `cdpd demo` plans, on the volumes that it makes itself."""


class nnUNetPlannerCDPDCPU(CPUPlanning, nnUNetPlannerCDPD):
    """See CPUPlanning: for prediction on a machine without GPU, at 3 mm."""
