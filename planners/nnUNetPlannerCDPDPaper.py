"""nnUNetPlannerCDPDPaper: the paper's preprocessing, patch and network; see planning/paper_planner.py."""

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from ..planning.paper_planner import PaperPlanning


class nnUNetPlannerCDPDPaper(PaperPlanning, ExperimentPlanner):
    """See PaperPlanning. One configuration, 3d_fullres; the memory target changes nothing."""
