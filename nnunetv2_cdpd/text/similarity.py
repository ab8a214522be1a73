"""How alike the prompts of classes are to the text encoder: cosine similarity as numbers, as text and as a picture.

Classes that a text encoder cannot tell apart get the same modulation of features; this shows which those are.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional

from nnunetv2_cdpd.datasets.output import check_may_write
from nnunetv2_cdpd.jobs import written_beside

_SOFTWARE = "nnunetv2-cdpd, similarity of class prompts"  # in the header of the pictures, which tells them from others'
MATRIX_CLASSES = 40  # beyond, a table of all pairs is too wide for a terminal


def cosine_similarity(embeddings: Tensor) -> np.ndarray:
    """Of all pairs of rows of (N, E): (N, N) in [-1, 1], float64."""
    unit = functional.normalize(embeddings.double(), dim=1)
    return (unit @ unit.T).numpy()


def similarity_text(names: Sequence[str], similarity: np.ndarray) -> str:
    """A table in percent: of all pairs, or for many classes of each with the three most alike."""
    if len(names) > MATRIX_CLASSES:
        return _nearest(names, similarity)
    width = max(map(len, names))
    head = " " * (width + 5) + "".join(f"{number:4d}" for number in range(1, len(names) + 1))
    rows = [
        f"{number:3d}  {name:{width}}" + "".join(f"{round(100 * value):4d}" for value in row)
        for number, (name, row) in enumerate(zip(names, similarity), start=1)
    ]
    return "\n".join([head, *rows])


def _nearest(names: Sequence[str], similarity: np.ndarray, count: int = 3) -> str:
    width = max(map(len, names))
    lines = []
    for index, name in enumerate(names):
        others = [other for other in np.argsort(-similarity[index], kind="stable") if other != index][:count]
        lines.append(f"{name:{width}}  " + ", ".join(f"{names[k]} {round(100 * similarity[index, k])}" for k in others))
    return "\n".join(lines)


def mean_of_pairs(similarity: np.ndarray) -> float:
    """Mean over the pairs of different rows; nan for a single row."""
    pairs = similarity[~np.eye(len(similarity), dtype=bool)]
    return float(pairs.mean()) if len(pairs) else float("nan")


def draw_similarity(names: Sequence[str], similarity: np.ndarray, path: Path) -> None:
    """Write the matrix as a PNG; colours from the least alike pair to 1.

    Raises:
        UserError: A file is there that this did not write.
    """
    check_may_write([path], made_here=_is_our_picture(path), way_out="give another file")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = 2.5 + 0.22 * len(names)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(similarity, vmin=min(float(similarity.min()), 0.99), vmax=1, cmap="viridis")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_title("Cosine similarity of the class prompts", fontsize=9)
    figure.colorbar(image, shrink=0.7)
    with written_beside(path) as beside:
        canvas.print_png(beside, metadata={"Software": _SOFTWARE})


def _is_our_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _SOFTWARE.encode() in file.read(1024)
    except OSError:
        return False
