"""benchmarks/text_prompts: a head of which its text tells is found, another is not; tables are those of the files."""

import importlib
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from builders.project import CLONE

EVIDENCE = ("patients", "prompt_tables", "results", "studies", "tables")
MODULES = ("cases", "heads", "scores", "texts", "voxels", *EVIDENCE)
ORGANS, FEATURES, TEXT, COUNT = 16, 6, 3, 960


@pytest.fixture
def prompts(monkeypatch):
    """The modules of the script, by name."""
    for folder in ("evidence", "text_prompts"):
        monkeypatch.syspath_prepend(str(CLONE / "benchmarks" / folder))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def world(prompts):
    """Made-up features, each organ around a place of its own, which is a known linear function of its text; so is its head."""
    random = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(ORGANS, TEXT, generator=random))
    matrix = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=random))[0][:, :TEXT]
    heads = torch.cat([20 * texts @ matrix.T, torch.full((ORGANS, 1), -16.0)], 1)

    def voxels():
        labels = torch.arange(COUNT) % (2 * ORGANS)
        labels = torch.where(labels < ORGANS, 1 + labels, 0)
        places = torch.cat([torch.zeros(1, FEATURES), texts @ matrix.T])[labels]
        features = places + 0.1 * torch.randn(COUNT, FEATURES, generator=random)
        return prompts.voxels.Voxels(features, labels, torch.arange(COUNT) // (COUNT // 2), torch.ones(COUNT))

    seen = prompts.voxels.Seen(voxels(), voxels(), heads, torch.zeros(ORGANS, 1))
    return SimpleNamespace(texts=texts, heads=heads, seen=seen)


def found(prompts, world, left_out, monkeypatch):
    monkeypatch.setattr(prompts.heads, "_STEPS", 60)
    monkeypatch.setattr(prompts.scores, "SEEDS", (0,))
    scores = prompts.scores.scores_of(world.seen, list(range(ORGANS)), left_out, {"clip": world.texts})
    return {(score.maker, score.text): score for score in scores}


@pytest.mark.parametrize("left_out", [1, 7])
def test_a_head_that_its_text_tells_is_found(prompts, world, monkeypatch, left_out):
    scores = found(prompts, world, left_out, monkeypatch)
    assert scores["ridge", "clip"].competing > 0.85
    for maker in ("ridge", "mlp"):
        assert scores[maker, "clip"].best > 0.75 * scores["labels", ""].best > 0.5
        assert scores[maker, "exchanged"].best < 0.3
    assert scores["another organ's", ""].competing is None
    assert scores["another organ's", ""].best < 0.9 * scores["ridge", "clip"].best


def test_a_network_without_the_organ_has_no_head_of_it(prompts, world, monkeypatch):
    monkeypatch.setattr(prompts.heads, "_STEPS", 1)
    trained_on = [organ for organ in range(ORGANS) if organ not in (1, 7)]
    few = prompts.voxels.Seen(world.seen.trained, world.seen.tested, world.heads[trained_on], world.seen.facts)
    scores = prompts.scores.scores_of(few, trained_on, 7, {"clip": world.texts})
    (ridge,) = [score for score in scores if (score.maker, score.text) == ("ridge", "clip")]
    assert ridge.alone == pytest.approx(found(prompts, world, 7, monkeypatch)["ridge", "clip"].alone, abs=0.05)


def test_dice_of_voxels_by_hand(prompts):
    own = torch.tensor([True, True, False, False, False, True])
    cases = torch.tensor([0, 0, 0, 1, 1, 2])
    predicted = torch.tensor([True, False, True, True, False, True])
    # case 0: 2 * 1 / (2 + 2); case 1 has none; case 2: 1
    assert prompts.scores.mean_dice(predicted, own, cases) == pytest.approx((0.5 + 1) / 2)
    logits = torch.tensor([3.0, 1.0, 2.0, -1.0, -2.0, 0.5])
    # the four highest: 2 * 3 / (4 + 3)
    assert prompts.scores.best_threshold(logits, own, torch.ones(6)) == (pytest.approx(6 / 7), 0.5)
    # the third voxel stands for ten: the highest alone 2 / (1 + 3), all that is above 0 6 / (13 + 3)
    weights = torch.tensor([1.0, 1.0, 10.0, 1.0, 1.0, 1.0])
    assert prompts.scores.best_threshold(logits, own, weights) == (pytest.approx(0.5), 3.0)


def test_the_loss_of_voxels_that_stand_for_several(prompts):
    logits, targets = torch.tensor([[0.5], [-1.0], [2.0]]), torch.tensor([[1.0], [0.0], [0.0]])
    twice = torch.cat([logits, logits[:1]]), torch.cat([targets, targets[:1]])
    loss = prompts.heads.segmentation_loss
    torch.testing.assert_close(loss(logits, targets, torch.tensor([2.0, 1.0, 1.0])), loss(*twice, torch.ones(4)))


@pytest.mark.parametrize("seed", range(3))
def test_every_text_is_exchanged(prompts, seed):
    texts = torch.arange(7.0)[:, None]
    exchanged = prompts.texts.exchanged(texts, seed)
    assert (exchanged != texts).all() and torch.equal(exchanged.sort(0).values, texts)


def test_features_are_those_of_the_windows_and_voxels_stand_for_all(prompts, monkeypatch):
    class Network(torch.nn.Module):
        num_features, features_only = 2, False

        def __init__(self):
            super().__init__()
            self.network = SimpleNamespace(decoder=SimpleNamespace(seg_layers=[torch.nn.Conv3d(2, 3, 1)]))

        def forward(self, windows):
            return torch.cat([windows, 2 * windows], 1)

    labels = torch.zeros(9, 5, 12, dtype=torch.uint8)
    labels[2:4], labels[7] = 1, 2
    trained = torch.zeros(labels.shape, dtype=torch.bool)
    trained[:6] = True
    image = torch.randn(1, *labels.shape)
    facts = {0: [1.0, 2.0], 1: [3.0, 4.0]}
    case = prompts.cases.Case(image, labels, trained, ~trained, facts)
    monkeypatch.setattr(prompts.voxels, "_ORGAN", 30)
    monkeypatch.setattr(prompts.voxels, "_BACKGROUND", 50)
    network = Network()
    seen = prompts.voxels.seen_by(network, [case], [6, 6, 6])
    torch.testing.assert_close(seen.tested.features[:, 0], image[0][6:].flatten())
    torch.testing.assert_close(seen.tested.features[:, 1], 2 * seen.tested.features[:, 0])
    assert torch.equal(seen.tested.labels, labels[6:].flatten().long())
    assert [int((seen.trained.labels == value).sum()) for value in (0, 1, 2)] == [50, 30, 0]
    assert float(seen.trained.weights.sum()) == pytest.approx(6 * 5 * 12) and seen.facts.tolist() == list(facts.values())
    torch.testing.assert_close(seen.heads[:, -1], network.network.decoder.seg_layers[-1].bias)


def test_tables_are_those_of_their_files(prompts, tmp_path, monkeypatch):
    table, score = prompts.prompt_tables, prompts.prompt_tables.Score
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    assert table.prompt_tables() == {}
    for organ, dice in ((0, 0.1), (1, 0.3)):
        scores = [
            score("labels", "", 0, 0.8, 0.8, 0.9),
            score("another organ's", "", 0, None, 0.1, 0.2),
            *(score("mlp", "clip", seed, dice + seed / 10, 0.5, 0.6) for seed in (0, 2)),
            score("mlp", "exchanged", 0, 0.25, 0.5, 0.55),
        ]
        table.write_scores("abdomen", table.UNSEEN, organ, scores)
    assert table.read_scores("abdomen", table.UNSEEN, 1) == scores
    json.loads(table.path_of("abdomen", table.UNSEEN, 1).read_text(), parse_constant=pytest.fail)
    competing, best, organs = table.prompt_tables().values()
    assert "abdomen, organ unseen (2)" in competing.splitlines()[0]
    assert "| trained on the others | CLIP's text, as released | 0.30 (0.20 to 0.40) |" in competing.splitlines()
    assert "| labels of the organ |  | 0.90 (0.90 to 0.90) |" in best.splitlines()
    assert not any("overlaps" in line for line in competing.splitlines()), "it competes with itself"
    less = "| trained on the others | CLIP's text, as released, less text of another organ | +0.05 (+0.05 to +0.05) |"
    assert [line for line in best.splitlines() if "less" in line] == [less] and "less" not in competing
    assert organs.splitlines()[2].startswith("| spleen | 0.90 | 0.20 |  |  | 0.60 | 0.55 |") and len(organs.splitlines()) == 4
