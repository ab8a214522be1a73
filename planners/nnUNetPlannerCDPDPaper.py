"""nnUNetPlannerCDPDPaper: the paper's preprocessing, patch and network for any CT dataset, for nnUNetTrainerCDPDPaper.

Source: CDPDNet, arXiv 2505.18958, as released (github wujiong-hub/CDPDNet); planning/paper.py tells what differs.
"""

from ..planning.paper import PaperPlanner


class nnUNetPlannerCDPDPaper(PaperPlanner):
    """See the module. One configuration, 3d_fullres; the memory target changes nothing."""
