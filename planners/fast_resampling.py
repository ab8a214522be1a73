"""The planners for GPUs with plans that name our resampling; see planning/fast_resampling.py."""

from ..planning.fast_resampling import FastResamplingPlanning
from .nnUNetPlannerCDPD import nnUNetPlannerCDPD
from .residual import nnUNetPlannerCDPDL, nnUNetPlannerCDPDM, nnUNetPlannerCDPDXL


class nnUNetPlannerCDPDFastResampling(FastResamplingPlanning, nnUNetPlannerCDPD):
    default_plans_name = "nnUNetCDPDFastResamplingPlans"


class nnUNetPlannerCDPDMFastResampling(FastResamplingPlanning, nnUNetPlannerCDPDM):
    default_plans_name = "nnUNetCDPDMFastResamplingPlans"


class nnUNetPlannerCDPDLFastResampling(FastResamplingPlanning, nnUNetPlannerCDPDL):
    default_plans_name = "nnUNetCDPDLFastResamplingPlans"


class nnUNetPlannerCDPDXLFastResampling(FastResamplingPlanning, nnUNetPlannerCDPDXL):
    default_plans_name = "nnUNetCDPDXLFastResamplingPlans"
