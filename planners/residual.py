"""nnU-Net's residual-encoder presets for CDPDNet: M for GPUs of about 8 GB, L of 24 GB, XL of 40 GB."""

from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners

from ..planning.planner import CDPDPlanning


class nnUNetPlannerCDPDM(CDPDPlanning, residual_encoder_unet_planners.nnUNetPlannerResEncM):
    default_plans_name = "nnUNetCDPDMPlans"


class nnUNetPlannerCDPDL(CDPDPlanning, residual_encoder_unet_planners.nnUNetPlannerResEncL):
    default_plans_name = "nnUNetCDPDLPlans"
    default_gpu_memory_gb = 24.0


class nnUNetPlannerCDPDXL(CDPDPlanning, residual_encoder_unet_planners.nnUNetPlannerResEncXL):
    default_plans_name = "nnUNetCDPDXLPlans"
    default_gpu_memory_gb = 40.0
