"""A network with extensions, on the weights of one without."""

from builders.network import CONFIGURATIONS, K, make_network

FREE = {"apart": [], "within": [], "holds": []}


def settings(places, stages, limits=None):
    return {
        "class_prompts": ["n"] * len(places),
        "task_prompts": ["t"],
        "places": list(places),
        "features_per_stage": [4] * stages,
        "n_conv_per_stage": [1] * (stages - 1),
        "limits": limits or [FREE] * len(places),
    }


def extended(configuration="3d", extensions=None, former=None, own=K, **changes):
    """A network with extensions on the weights of a former one, and that one."""
    stages = len(CONFIGURATIONS[configuration][1])
    text = {"encoder": "ViT-B-32/openai", "embed_dim": 16, "class_prompts": ["c"] * own, "modulate": True}
    text |= changes.pop("text", {})
    former = former or make_network(configuration, num_classes=own, text=text, **changes).eval()
    extensions = extensions or [settings([own], stages)]
    number = own + sum(len(extension["places"]) for extension in extensions)
    network = make_network(configuration, num_classes=number, text=text, extensions=extensions, seed=3, **changes).eval()
    network.load_state_dict(former.state_dict(), strict=False)
    return network, former
