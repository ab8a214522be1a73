"""SourceLogger: pseudo Dice of each source in nnU-Net's log, its picture and its checkpoints; nan where nothing counts."""

import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from PIL import Image

from nnunetv2_cdpd.training.progress import SourceLogger, _append_panel, dice_by_source

nan = math.nan


@pytest.fixture
def logger(tmp_path):
    logger = MetaLogger(str(tmp_path), resume=False)
    logger.local_logger = SourceLogger(["LITS", "KITS"])
    return logger


def log_epoch(logger, epoch, mean_dice, by_source=(0.5, 0.25)):
    logger.log("mean_fg_dice", mean_dice, epoch)
    logger.log("dice_per_class_or_region", [mean_dice], epoch)
    for key in ("train_losses", "val_losses", "lrs", "epoch_start_timestamps", "epoch_end_timestamps"):
        logger.log(key, 0.1, epoch)
    for key, value in zip(logger.local_logger.source_keys.values(), by_source):
        logger.log(key, value, epoch)


def test_dice_counts_what_each_source_annotates():
    #                  source A: liver 2 of 3, spleen not annotated; source B: nothing was there or predicted
    counts = np.array([[[2, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]]])
    dice, means = dice_by_source(counts)
    np.testing.assert_allclose(dice, [[2 / 3, nan], [nan, nan]])
    np.testing.assert_allclose(means, [2 / 3, nan])


def test_missed_class_is_zero_and_not_nan():
    dice, means = dice_by_source(np.array([[[0, 3]], [[0, 0]], [[4, 0]]]))
    np.testing.assert_allclose(dice, [[0, 1]])
    np.testing.assert_allclose(means, [0.5])


def test_picture_is_nnunets_with_one_panel_more(logger, tmp_path):
    log_epoch(logger, 0, 0.5)
    (tmp_path / "stock").mkdir()
    MetaLogger.plot_progress_png(logger, str(tmp_path))
    super(SourceLogger, logger.local_logger).plot_progress_png(str(tmp_path / "stock"))
    with Image.open(tmp_path / "progress.png") as ours, Image.open(tmp_path / "stock" / "progress.png") as stock:
        assert ours.width == stock.width and ours.height == stock.height + 1800
        upper = np.asarray(ours)[: stock.height]
        np.testing.assert_array_equal(upper, np.asarray(stock.convert("RGB")))
        assert np.asarray(ours)[stock.height :].min() < 100  # the panel is drawn
    assert not (tmp_path / "progress.png.tmp").exists()


def test_names_of_many_sources_stand_beside_each_other_within_the_picture(tmp_path, monkeypatch):
    drawn = []
    draw = FigureCanvasAgg.draw
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda canvas: (draw(canvas), drawn.append(canvas.figure)))
    Image.new("RGB", (3000, 100), "white").save(tmp_path / "progress.png")
    curves = {f"Source{number}Dataset": [0.1, number / 20] for number in range(17)}
    _append_panel(str(tmp_path / "progress.png"), curves, str(tmp_path / "out.png"))
    (figure,) = drawn
    (axes,) = figure.axes
    names = axes.get_legend().get_window_extent()
    assert names.x0 >= 0 and names.x1 <= 3000 and names.y1 <= 1800
    assert axes.get_window_extent().width > 2000
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 17


def test_epoch_without_anything_to_count_leaves_the_moving_average(logger):
    for epoch, mean in enumerate([nan, 0.4, nan, 0.8]):
        log_epoch(logger, epoch, mean)
    average = logger.get_value("ema_fg_dice", step=None)
    assert math.isnan(average[0])
    assert average[1:] == pytest.approx([0.4, 0.4, 0.9 * 0.4 + 0.1 * 0.8])


def test_checkpoint_there_and_back(logger):
    log_epoch(logger, 0, 0.5, by_source=(0.5, nan))
    other = SourceLogger(["LITS", "KITS"])
    other.load_checkpoint(logger.get_checkpoint())
    assert other.get_value("pseudo_dice_of_source/LITS", 0) == 0.5
    assert math.isnan(other.get_value("pseudo_dice_of_source/KITS", 0))


def test_checkpoint_of_another_trainer_is_continued(logger, tmp_path):
    log_epoch(logger, 0, 0.5)
    stock = {key: values for key, values in logger.get_checkpoint().items() if "source" not in key}
    logger.load_checkpoint(stock)
    log_epoch(logger, 1, 0.6, by_source=(0.7, 0.8))
    assert math.isnan(logger.get_value("pseudo_dice_of_source/LITS", 0))
    assert logger.get_value("pseudo_dice_of_source/LITS", -1) == 0.7
