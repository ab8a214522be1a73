"""Limits: how much of a machine clients may take, each a flag of `cdpd serve`."""

from dataclasses import dataclass

from nnunetv2_cdpd.errors import UserError, check_at_least

_UNPACKED = 4  # times the largest upload: what the files of a zip may be together; CT packs to about a half


@dataclass(frozen=True)
class Limits:
    """What a server takes, keeps and waits for.

    upload_mb: Of one request's body, in units of 1024 x 1024 bytes.
    uploads: Received at a time.
    queued: Jobs that wait, besides the one that runs.
    kept_jobs: Finished jobs, and images, that are kept; the oldest go first.
    kept_hours: For how long they are kept.
    job_minutes: That one job may run.
    megavoxels: Of one image, in millions.
    patience_seconds: That a client may neither send nor read.
    """

    upload_mb: int = 2048
    uploads: int = 8
    queued: int = 16
    kept_jobs: int = 100
    kept_hours: float = 24.0
    job_minutes: float = 60.0
    megavoxels: int = 1024
    patience_seconds: float = 30.0

    def check(self) -> None:
        """Raise UserError for a number that leaves nothing."""
        check_at_least(
            1,
            upload_mb=self.upload_mb,
            uploads=self.uploads,
            queued=self.queued,
            kept_jobs=self.kept_jobs,
            megavoxels=self.megavoxels,
        )
        for name in ("kept_hours", "job_minutes", "patience_seconds"):
            if not getattr(self, name) > 0:
                raise UserError(f"argument {name} {getattr(self, name)}: give a number above 0")

    @property
    def upload_bytes(self) -> int:
        return self.upload_mb << 20

    @property
    def unpacked_bytes(self) -> int:
        """Of all files of a zip."""
        return _UNPACKED * self.upload_bytes

    @property
    def voxels(self) -> int:
        return self.megavoxels * 1_000_000

    def check_voxels(self, voxels: int, at_model_spacing: float) -> None:
        """Raise UserError for an image that is larger than the server takes.

        Args:
            voxels: Of the image.
            at_model_spacing: How many it has for the network.
        """
        from nnunetv2_cdpd.portable.preprocessing import MOST_PER_VOXEL

        if voxels > self.voxels:
            raise UserError(f"an image of {voxels:,} voxels, and this server takes {self.voxels:,}; send a part of it")
        if at_model_spacing > max(self.voxels, MOST_PER_VOXEL * voxels):
            raise UserError(
                f"an image of {voxels:,} voxels that are {at_model_spacing:,.0f} at the model's spacing; is the voxel "
                "size in its header right?"
            )
