"""Rules of the clean-up, one function each, in the order in which they run; RULES knows them by name.

The released code works on one binary volume per class, in which organs and tumors overlap. Here an organ is its own voxels
and those of the classes nested in it, and a rule about an organ changes only the organ's own voxels.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from nnunetv2_cdpd.classes import LUNGS, is_of_both_sides, lateral_pairs, lies_in_by_name, says_tumor
from nnunetv2_cdpd.cleanup.labelled_volume import TOUCHING, LabelledVolume, VoxelBox, components, widened
from nnunetv2_cdpd.cleanup.table import INSIDE_ORGAN, ONE_PIECE, REACH_MM, SMALLEST_OF_PAIR
from nnunetv2_cdpd.errors import UserError


def place(volume: LabelledVolume) -> None:
    """A component that lies wholly where its class cannot lie, by the image and by the other classes, goes.

    Needs what was learned of the dataset (`cdpd place`) and the image. A class is where its largest component is for the others,
    of which most have to agree, or its two largest where it is of both sides. Not in the released code.
    """
    if volume.place is None:
        return
    found = {}
    for name in volume.classes:
        box = volume.box_of(volume.region_values([name]))
        if box is not None:
            numbered, sizes = components(np.isin(volume.label_map[box], volume.region_values([name])))
            if sizes.size:
                main = np.isin(numbered, _main_pieces(sizes, 2 if is_of_both_sides(name) else 1))
                its = ndimage.find_objects(main.view(np.uint8))[0]
                around = tuple(slice(outer.start + inner.start, outer.start + inner.stop) for outer, inner in zip(box, its))
                found[name] = volume.place.ends(main[its], around)
    for name, possible in volume.place.possible(found).items():
        values = volume.region_values([name])
        box = volume.box_of(values)
        if box is None:
            continue
        part = volume.label_map[box]
        own = part == volume.classes[name]
        numbered, _ = components(np.isin(part, values))
        inside = tuple(
            slice(max(0, side.start - outer.start), max(0, side.stop - outer.start)) for side, outer in zip(possible, box)
        )
        volume.keep_only(np.unique(numbered[inside]).tolist(), "place", box, numbered, own)


def sides(volume: LabelledVolume) -> None:
    """A piece of the left organ that lies against the main part of the right one becomes right, and the other way round.

    For every pair of class names that differ in their side only. The main part of an organ, its largest component, never
    changes, so organs that touch keep their border; what lies in an organ connects its parts. Not in the released code, which
    cuts such pieces away.
    """
    for pair in lateral_pairs(tuple(volume.classes)):
        values = [volume.classes[name] for name in pair]
        regions = [volume.region_values([name]) for name in pair]
        box = volume.box_of([*regions[0], *regions[1]])
        if box is None:
            continue
        part = volume.label_map[box]
        organ = [part == value for value in values]
        numbered = [components(np.isin(part, region), sizes_of=mask) for region, mask in zip(regions, organ)]
        if not all(sizes.any() for _, sizes in numbered):
            continue
        mains = [1 + int(sizes.argmax()) for _, sizes in numbered]
        for own, other in ((0, 1), (1, 0)):
            pieces, (organs, _) = numbered[own][0], numbered[other]
            place = ndimage.find_objects(organs)[mains[other] - 1]
            place = widened(place, 1, organs.shape)
            near = ndimage.binary_dilation(organs[place] == mains[other], TOUCHING)
            against = set(np.unique(pieces[place][near]).tolist()) - {0, mains[own]}
            if against:
                volume.change("sides", box, organ[own] & np.isin(pieces, list(against)), values[other])


def lungs(volume: LabelledVolume) -> None:
    """The two largest components of both lungs together are the lungs, each of one side; what else is labelled lung goes.

    The lung with the larger share of voxels labelled left is the left one; where both shares are the same, the one that lies
    further left. Lungs that touch are one component and keep their labels (the released code then crashes or drops both).
    """
    names = [volume.by_structure[name] for name in LUNGS if name in volume.by_structure]
    if len(names) < 2:
        return
    right, left = (volume.classes[name] for name in names)
    box = volume.box_of([right, left])
    if box is None:
        return
    part = volume.label_map[box]
    own = (part == right) | (part == left)
    numbered, sizes = components(np.isin(part, volume.region_values(names)), sizes_of=own)
    found = _main_pieces(sizes, 2)
    if len(found) == 2:
        both = [own & (numbered == number) for number in found]
        for lung, value in zip(both, (left, right) if _left_first(volume, both, part == left) else (right, left)):
            volume.change("lungs", box, lung, value)
    volume.keep_only(found, "lungs", box, numbered, own)


def _left_first(volume: LabelledVolume, both: Sequence[np.ndarray], left: np.ndarray) -> bool:
    """Whether the first of both lungs is the left one; by position where their labels do not tell."""
    shares = [(lung & left).sum() / lung.sum() for lung in both]
    if shares[0] != shares[1] or volume.axes is None:
        return bool(shares[0] >= shares[1])
    axis, towards_left = _axis(volume.axes, "L", "R")
    centres = [np.nonzero(lung.any(tuple({0, 1, 2} - {axis})))[0].mean() for lung in both]
    return bool((centres[0] > centres[1]) == towards_left)


def largest(volume: LabelledVolume) -> None:
    """Organs that are of one piece, and the colon tumor, keep their largest component (26-connected)."""
    for structure in ONE_PIECE:
        name = volume.by_structure.get(structure)
        if name is None:
            continue
        # with its nested classes: a tumor may lie between two parts of its organ
        values = volume.region_values([name])
        box = volume.box_of(values)
        if box is None:
            continue
        part = volume.label_map[box]
        own = part == volume.classes[name]
        if not own.any():
            continue
        numbered, sizes = components(np.isin(part, values) if len(values) > 1 else own, sizes_of=own)
        volume.keep_only([1 + int(sizes.argmax())], "largest", box, numbered, own)


def tumors_in_organ(volume: LabelledVolume) -> None:
    """Voxels of kidney and liver tumors that lie more than 3 mm outside of the organ go.

    The organ is as many components as there are organs (two kidneys), the tumors in it included.
    """
    for structure in INSIDE_ORGAN:
        name = volume.by_structure.get(structure)
        if name is not None and (near := _near_organ(volume, name)):
            box, mask = near
            outside = (volume.label_map[box] == volume.classes[name]) & ~mask
            volume.keep_only((), "tumors_in_organ", box, components(outside)[0], outside)


def tumors_at_organ(volume: LabelledVolume) -> None:
    """Other tumors, cysts and lesions with an organ go as a whole where they come nowhere within 3 mm of it.

    Not in the released code, which keeps them anywhere. A large tumor may take the place of most of its organ, so nothing
    is cut from one that touches it.
    """
    inside = {volume.by_structure.get(structure) for structure in INSIDE_ORGAN}
    for name in volume.parents:
        near = _near_organ(volume, name) if name not in inside and says_tumor(name) else None
        if near is None:
            continue
        box, mask = near
        own = volume.label_map[box] == volume.classes[name]
        numbered, _ = components(own)
        volume.keep_only(np.unique(numbered[mask]).tolist(), "tumors_at_organ", box, numbered, own)


def portal_vein(volume: LabelledVolume) -> None:
    """The portal and splenic vein ends at the lowest slice of the pancreas; needs to know where the feet are.

    The pancreas with what lies in it: its head may be a class of its own, its lowest slices all tumor. After the rules of
    tumors, so that a false one does not count.
    """
    vein, pancreas = (volume.by_structure.get(name) for name in ("portal_vein_and_splenic_vein", "pancreas"))
    if vein is None or pancreas is None or volume.axes is None:
        return
    axis, towards_head = _axis(volume.axes, "S", "I")
    organ = np.isin(volume.label_map, volume.region_values([pancreas]))
    occupied = np.flatnonzero(organ.any(tuple({0, 1, 2} - {axis})))
    if not occupied.size:
        return
    below = [slice(None)] * 3
    below[axis] = slice(int(occupied[0])) if towards_head else slice(int(occupied[-1]) + 1, None)
    box = tuple(below)
    volume.change("portal_vein", box, volume.label_map[box] == volume.classes[vein], 0)


def _near_organ(volume: LabelledVolume, tumor: str) -> tuple[VoxelBox, np.ndarray] | None:
    """A box around a tumor and its organ, and in it the organ and what lies within reach; None: nothing to compare."""
    parents = [name for name in volume.parents.get(tumor, ()) if name in volume.classes]
    if len(parents) == 1 and lies_in_by_name(tumor, parents[0]) is None:
        return None  # the other kidney is no class, and may have the tumor
    own_values = [volume.classes[name] for name in parents]
    voxels = [max(1, round(REACH_MM / mm)) for mm in volume.spacing]
    values = volume.region_values(parents)
    box = volume.box_of(values, margin=max(voxels))
    if box is None or volume.box_of([volume.classes[tumor]]) is None or volume.box_of(own_values) is None:
        return None
    part = volume.label_map[box]
    numbered, sizes = components(np.isin(part, values), sizes_of=np.isin(part, own_values))
    outermost = [name for name in parents if set(parents).isdisjoint(volume.parents.get(name, ()))]
    organs = sum(2 if is_of_both_sides(name) else 1 for name in outermost)
    kept = [index + 1 for index in np.argsort(sizes)[::-1][:organs] if sizes[index]]
    # The released code closes before it dilates by the same cube, which changes nothing.
    size = [2 * steps + 1 for steps in voxels]
    return box, ndimage.maximum_filter(np.isin(numbered, kept).view(np.uint8), size, mode="constant").view(bool)


def _main_pieces(sizes: np.ndarray, organs: int) -> list[int]:
    """Numbers of the largest components, the largest first: as many as there are organs, but for those that are too small."""
    largest = np.argsort(sizes)[::-1][:organs]
    return [1 + int(index) for index in largest if sizes[index] >= SMALLEST_OF_PAIR * sizes[largest[0]]]


def _axis(axes: str, towards: str, away: str) -> tuple[int, bool]:
    """Array axis along a direction of the body, and whether it runs towards it."""
    index = next(index for index, letter in enumerate(axes) if letter in (towards, away))
    return index, axes[index] == towards


RULES: dict[str, Callable[[LabelledVolume], None]] = {
    rule.__name__: rule for rule in (place, sides, lungs, largest, tumors_in_organ, tumors_at_organ, portal_vein)
}

PLACE = place.__name__


def description_of(rule: str) -> str:
    """The first sentence of a rule's docstring."""
    return " ".join((RULES[rule].__doc__ or "").split("\n\n")[0].split())


def check_rules(rules: Sequence[str] | None) -> None:
    """Raise UserError for names that are none of `RULES`; None stands for all rules."""
    if unknown := [rule for rule in rules or () if rule not in RULES]:
        raise UserError(f"argument rules: no clean-up rule {', '.join(unknown)}; choose from {', '.join(RULES)}")
