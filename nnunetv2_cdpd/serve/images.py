"""Images: those that can be named in a request: sent before, or in a folder of the machine that the server may read."""

import threading
import time
from pathlib import Path

from nnunetv2_cdpd.errors import UserError
from nnunetv2_cdpd.jobs import remove
from nnunetv2_cdpd.serve.limits import Limits
from nnunetv2_cdpd.serve.store import KeptImage, SentImage, new_entry, outdated, read_entries, write_entry

_SCAN_SECONDS = 10.0  # between two looks into the folder of images for a name that is not known


class ImageStore:
    """Images by name. Its methods may be called from any thread.

    Args:
        folder: In the server's state, of the images that are sent.
        shown: A folder of the machine with volumes and DICOM series, which is only read; None: there is none.
    """

    def __init__(self, folder: Path, limits: Limits, shown: Path | None = None) -> None:
        self.folder, self._limits, self._shown = folder, limits, shown
        self._lock, self._looking = threading.RLock(), threading.Lock()
        self._images = {image.id: image for image in read_entries(folder, KeptImage)}
        self._found: dict[str, SentImage] = {}
        self._scanned = float("-inf")
        self.clear()

    def new_folder(self) -> tuple[str, Path]:
        """Identifier and folder for an image that is sent; it is kept by `keep`."""
        return new_entry(self.folder)

    def keep(self, identifier: str, name: str | None, sent: SentImage, expires: float = 0.0) -> KeptImage:
        """Keep an image that was sent; one of the same name goes.

        Args:
            name: None: its identifier.
            expires: Seconds for which nobody asks for it; 0: as long as the server keeps any.
        """
        files = [str(file) for file in sent.files]
        image = KeptImage(identifier, identifier if name is None else name, files, sent.is_series, expires=expires)
        with self._lock:
            write_entry(self.folder / identifier, image)
            self.forget_named(image.name)
            self._images[identifier] = image
            self.clear()
        return image

    def get(self, identifier: str, use: bool = True) -> KeptImage | None:
        """An image that was sent, by its identifier."""
        self.clear()
        with self._lock:
            image = self._images.get(identifier)
            if image is not None and use:
                image.used = time.time()
            return image

    def named(self, name: str) -> SentImage | None:
        """An image that was sent, by its name, else one of the shown folder; None: there is none."""
        self.clear()
        with self._lock:
            for image in self._images.values():
                if image.name == name:
                    image.used = time.time()
                    return sent_image(image)
        return self._found.get(name) or self._looked_for().get(name)

    def names(self) -> list[str]:
        """Of all images that can be named."""
        with self._lock:
            sent = [image.name for image in self._images.values() if image.name != image.id]
        return list(dict.fromkeys((*sent, *self._looked_for())))

    def _looked_for(self) -> dict[str, SentImage]:
        """What is in the shown folder now, or was a moment ago; looking takes a while where there is much."""
        with self._looking:
            if self._shown is not None and time.monotonic() - self._scanned > _SCAN_SECONDS:
                self._found = found_images(self._shown)
                self._scanned = time.monotonic()
            return self._found

    def forget(self, image: KeptImage) -> None:
        """Remove an image that was sent."""
        with self._lock:
            if self._images.pop(image.id, None) is not None:
                remove(self.folder / image.id)

    def forget_named(self, name: str) -> None:
        """Remove an image that was sent, by its name, if there is one."""
        with self._lock:
            for image in [image for image in self._images.values() if image.name == name]:
                self.forget(image)

    def clear(self) -> None:
        """Remove images that are too old or too many."""
        with self._lock:
            now, longest = time.time(), 3600 * self._limits.kept_hours

            def is_old(image: KeptImage) -> bool:
                return now - image.used > min(image.expires or longest, longest)

            for image in outdated(sorted(self._images.values(), key=lambda image: image.used), self._limits.kept_jobs, is_old):
                self.forget(image)


def sent_image(image: KeptImage) -> SentImage:
    """The files of an image that is kept."""
    return SentImage(tuple(map(Path, image.files)), image.is_series)


def found_images(folder: Path) -> dict[str, SentImage]:
    """The images of a folder, at any depth: volumes by their name without ending, DICOM series by their SeriesInstanceUID.

    Volumes of one name in several folders have these in their names too ("case_1_imaging"); a series may lie in several folders.
    What cannot be read is left out.
    """
    from nnunetv2_cdpd.datasets.volume_files import VOLUME_ENDINGS
    from nnunetv2_cdpd.inference.file_names import files_of
    from nnunetv2_cdpd.volumes.dicom import find_series

    volumes: dict[str, list[Path]] = {}
    series: dict[str, list[Path]] = {}
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        others = []
        for file in files_of(place):
            ending = next((ending for ending in VOLUME_ENDINGS if file.name.lower().endswith(ending)), None)
            if ending is None:
                others.append(file)
            else:
                volumes.setdefault(file.name[: -len(ending)], []).append(file)
        try:
            here = find_series(others).series
        except UserError:
            continue
        for entry in here:
            series.setdefault(entry.headers[0].series, []).extend(entry.files)
    found = {name: SentImage(tuple(files), True) for name, files in series.items()}
    for name, files in volumes.items():
        for file in files:
            places = file.parent.relative_to(folder).parts if len(files) > 1 else ()
            found.setdefault("_".join((*places, name)), SentImage((file,), False))
    return found
