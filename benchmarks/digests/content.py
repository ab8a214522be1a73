"""Digests of content: what a file or a text holds, without what differs from run to run."""

import base64
import csv
import hashlib
import io
import json
import pickle
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import SimpleITK as sitk

KEPT_TEXT = 12000  # characters of an entry that are kept, so that the comparison can show what differs


# Left out, because the clock or addresses in memory are in them: nnU-Net's curves, which draw the epochs' durations, and its dump
# of the trainer. Their names are listed, so that a missing one shows.
LEFT_OUT = ("progress.png", "debug.json")
# Of files: size and modification time; the digest of both in records; the moment and the duration of a job
VOLATILE = {"made_from", "outputs", "epoch_start_timestamps", "epoch_end_timestamps", "timestamp", "mtime", "seconds"}


def sha(data):
    return hashlib.sha256(data).hexdigest()[:24]


def text_entry(text):
    entry = {"digest": sha(text.encode())}
    return {**entry, "text": text} if len(text) <= KEPT_TEXT else {**entry, "text": text[:KEPT_TEXT] + "\n[...]"}


def array_entry(array, **facts):
    array = np.asarray(array)
    facts = {"dtype": str(array.dtype), "shape": list(array.shape), **facts}
    if array.dtype.kind in "biuf" and array.size:
        facts["mean"] = float(np.mean(array, dtype=np.float64))
    if array.dtype.kind in "biu" and array.size and (values := np.unique(array)).size <= 20:
        facts["voxels"] = {str(value): int((array == value).sum()) for value in values}
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    return {"digest": sha(json.dumps(facts, sort_keys=True).encode() + content), "text": json.dumps(facts, indent=1)}


def joined_entry(entries):
    """One entry of several, name -> entry."""
    lines = [f"{name}: {entry['digest']} {' '.join(entry['text'].split())}" for name, entry in entries.items()]
    return text_entry("\n".join(lines))


def plain_text(text, places):
    """Text without what differs from run to run: places, times, durations, progress bars; and without modules of ours."""
    for place, name in places.items():
        text = text.replace(place, name)
    lines = []
    for line in text.split("\n"):
        line = line.rsplit("\r", 1)[-1]
        if re.search(r"\d+%\|| it/s|s/it", line):
            continue
        line = re.sub(r"\d{4}-\d\d-\d\d[ _T]\d\d[:_]\d\d[:_]\d\d(\.\d+)?:?", "TIME", line)
        line = re.sub(r"\b\d+(\.\d+)? ?(s|min|seconds)\b", "DURATION", line)
        line = re.sub(r"Epoch time: .*", "Epoch time", line)
        line = re.sub(r"\bnnunetv2_cdpd(\.\w+)*\.(\w+)", r"\2", line)  # modules may move, names of classes may not
        line = re.sub(r"nnunetv2[-_]cdpd \d+(\.\w+)+", "nnunetv2-cdpd VERSION", line)
        lines.append(line.rstrip())
    return "\n".join(lines).strip()


def without_warnings(text):
    """stderr of a command without Python's warnings, which name lines of source, and without what `cdpd link` did once."""
    lines, skip = [], False
    for line in text.split("\n"):
        warning = re.search(r"\.py:\d+: \w*Warning", line) is not None
        if not warning and not (skip and line.startswith("  ")) and not line.startswith("cdpd: linked to nnU-Net"):
            lines.append(line)
        skip = warning
    return "\n".join(lines)


def plain_value(value, plain):
    """Parsed content without volatile keys; numbers of numpy and tuples become what JSON knows, floats keep all their digits."""
    if isinstance(value, dict):
        return {plain(str(key)): plain_value(item, plain) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, plain) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain_value(item, plain) for item in value)
    if isinstance(value, np.ndarray):
        return array_entry(value)["digest"] if value.size > 50 else [str(value.dtype), plain_value(value.tolist(), plain)]
    if isinstance(value, np.generic):
        return plain_value(value.item(), plain)
    if isinstance(value, (str, Path)):
        return plain(str(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, "detach"):
        return array_entry(value.detach().cpu().numpy())["digest"]
    return plain(re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


def json_entry(value, plain):
    return text_entry(json.dumps(plain_value(value, plain), indent=1))


def image_entry(path):
    image = sitk.ReadImage(str(path))
    rounded = {name: np.round(getattr(image, f"Get{name}")(), 6).tolist() for name in ("Origin", "Spacing", "Direction")}
    rounded = {name: [value + 0.0 for value in values] for name, values in rounded.items()}  # no -0.0
    return array_entry(sitk.GetArrayFromImage(image), **rounded)


def checkpoint_entries(path, key, plain):
    """The tensors and the rest of a checkpoint, separately."""
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    entries = {}
    for name in ("network_weights", "optimizer_state"):
        content = checkpoint.pop(name, None)
        if name == "network_weights":
            entries[f"{key} {name}"] = joined_entry({k: array_entry(v.float().numpy() if v.dtype == torch.bfloat16 else v.numpy())
                                                     for k, v in content.items()})  # fmt: skip
        else:
            entries[f"{key} {name}"] = json_entry(content, plain)
    entries[f"{key} rest"] = json_entry(checkpoint, plain)
    return entries


class Page(HTMLParser):
    """What a page of HTML holds, whatever the whitespace and the order of attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.texts, self.tags, self.pictures, self.inside, self.code = [], [], [], None, {"script": [], "style": []}
        self.json = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        listed = []
        for name, value in sorted(attributes, key=lambda pair: (pair[0], pair[1] or "")):
            value = " ".join((value or "").split())
            if match := re.match(r"data:([\w/+.-]+);base64,(.*)", value):
                value = f"{match[1]} {data_digest(base64.b64decode(match[2]))}"
                self.pictures.append(value)
            listed.append(f"{name}={value}")
        self.tags.append(" ".join([tag, *listed]))
        if tag in self.code:
            self.inside = "json" if "json" in dict(attributes).get("type", "") else tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        self.inside = None if tag in self.code else self.inside

    def handle_data(self, data):
        text = " ".join(data.split())
        if not text:
            return
        if self.inside == "json":
            self.json.append(json.loads(data))
        elif self.inside:
            self.code[self.inside].append(text)
        else:
            self.texts.append(text)


def data_digest(data):
    """Of the pixels of a picture; else of the bytes."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return array_entry(np.asarray(picture), mode=picture.mode)["digest"]
    except UnidentifiedImageError:
        return sha(data)


def html_entries(text, key, plain):
    page = Page(text)  # as it is: what looks like a duration may be part of a picture
    texts = [plain(line) for line in page.texts]
    return {
        f"{key} texts": text_entry("\n".join(sorted(texts))),
        f"{key} texts in order": text_entry(" ".join(texts)),
        f"{key} tags": text_entry("\n".join(f"{count} x {tag}" for tag, count in sorted(Counter(page.tags).items()))),
        f"{key} tags in order": text_entry("\n".join(page.tags)),
        f"{key} pictures": text_entry("\n".join(sorted(page.pictures))),
        f"{key} json": json_entry(page.json, plain),
        f"{key} script": text_entry("\n".join(page.code["script"])),
        f"{key} style": text_entry("\n".join(page.code["style"])),
    }


def b2nd_entry(path):
    import blosc2

    return array_entry(blosc2.open(urlpath=str(path), mode="r")[:])


def safetensors_entry(path, plain):
    from safetensors import safe_open

    with safe_open(str(path), "np") as file:
        tensors = {name: array_entry(file.get_tensor(name)) for name in sorted(file.keys())}
        return joined_entry({**tensors, "metadata": json_entry(file.metadata(), plain)})


def file_entries(path, work, plain):
    """Entries of a file, by what it holds."""
    key = re.sub(r"training_log_[\d_]+\.txt", "training_log.txt", path.relative_to(work).as_posix())
    name = path.name
    if name in LEFT_OUT:
        return {key: {"digest": "left out"}}
    if "cdpd_fingerprints" in path.parts:
        # named by the place and the time of the image
        entry = joined_entry({k: array_entry(v) for k, v in sorted(np.load(path).items())}) if name.endswith(".npz") else None
        entry = entry or {"digest": sha(path.read_bytes())}
        return {f"{path.parent.relative_to(work).as_posix()}/{entry['digest']}": entry}
    if name.endswith((".nii.gz", ".nii", ".mha", ".nrrd")):
        return {key: image_entry(path)} if path.stat().st_size > 2000 or readable(path) else {key: {"digest": "not readable"}}
    if name.endswith((".npz", ".npy")):
        loaded = np.load(path)
        arrays = {"array": loaded} if name.endswith(".npy") else {k: loaded[k] for k in sorted(loaded.files)}
        return {key: joined_entry({k: array_entry(v) for k, v in arrays.items()})}
    if name.endswith(".b2nd"):
        return {key: b2nd_entry(path)}
    if name.endswith(".pkl"):
        return {key: json_entry(pickle.loads(path.read_bytes()), plain)}
    if name.endswith(".json"):
        return {key: json_entry(json.loads(path.read_text()), plain)}
    if name.endswith(".jsonl"):
        return {key: json_entry([json.loads(line) for line in path.read_text().splitlines()], plain)}
    if name.endswith(".pth"):
        return checkpoint_entries(path, key, plain)
    if name.endswith(".safetensors"):
        return {key: safetensors_entry(path, plain)}
    if name.endswith(".html"):
        return html_entries(path.read_text(encoding="utf-8"), key, plain)
    if name.endswith(".csv"):
        return {key: text_entry(plain("\n".join(",".join(row) for row in csv.reader(path.open(newline="")))))}
    if name.endswith((".txt", ".yaml")):
        return {key: text_entry(plain(path.read_text(encoding="utf-8")))}
    return {key: {"digest": data_digest(path.read_bytes())}}


def readable(path):
    try:
        sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    return True
