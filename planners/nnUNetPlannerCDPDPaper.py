"""nnUNetPlannerCDPDPaper: the paper's preprocessing, patch and network; see planning/paper_planner.py."""

from ..planning.paper_planner import PaperPlanning


class nnUNetPlannerCDPDPaper(PaperPlanning):
    """See PaperPlanning. One configuration, 3d_fullres; the memory target changes nothing."""
