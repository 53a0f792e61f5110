"""Videos on a page: relative addresses, still pictures, and copies that travel with the page."""

import base64
import io
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reward.copying import place
from reward.errors import InputError
from reward.files import sha256_file
from reward.progress import Progress
from reward.prompts import Prompt

STILL_WIDTH, STILL_QUALITY = 240, 55
_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime",
    ".mkv": "video/x-matroska", ".avi": "video/x-msvideo", ".ts": "video/mp2t", ".gif": "image/gif",
}  # fmt: skip


@dataclass(frozen=True)
class Video:
    """A video as a page shows it: its name, where it lies and its address, or why it is not there."""

    name: str
    path: Path
    url: str | None = None
    kind: str = "video/mp4"
    missing: str | None = None

    @property
    def is_picture(self) -> bool:
        """Whether browsers play it as an animated picture and not as a video."""
        return self.kind.startswith("image/")


@dataclass(frozen=True)
class Still:
    """The middle frame of a video as a data URL, and the video's width and height in pixels; or why there is none."""

    url: str | None = None
    width: int | None = None
    height: int | None = None
    fault: str | None = None


class Videos:
    """The videos of one page, which lies at `out`.

    `copies` is a folder beside the page that videos are linked or copied into, under the hash of their content;
    without it the page points to where they lie.
    """

    def __init__(self, out: Path, copies: Path | None = None) -> None:
        self.folder, self.copies = out.resolve().parent, copies
        self._stills: dict[Path, Still] = {}
        self._shown: dict[Path, Video] = {}

    def show(self, path: Path, name: str) -> Video:
        """Return a video of the page; one that is not there says so."""
        if not path.is_file():
            return Video(name, path, missing="the file does not exist")
        if path not in self._shown:
            kind = _TYPES.get(path.suffix.lower(), "video/mp4")
            self._shown[path] = Video(name, path, relative_url(self._placed(path), self.folder), kind)
        return replace(self._shown[path], name=name)

    def _placed(self, path: Path) -> Path:
        if self.copies is None:
            return path
        copied = self.copies / f"{sha256_file(path)}{path.suffix.lower()}"
        if not copied.exists():
            place(path, copied, link=True)
        return copied

    def draw_stills(self, workers: int, seconds: float) -> None:
        """Decode the middle frame of each shown video; one that cannot be decoded gets the reason instead."""
        from reward.video import Clip, FrameSampling, VideoReaders

        with VideoReaders(workers, seconds) as readers, Progress(len(self._shown), "drawing stills") as progress:
            for path, clip in readers.stream(self._shown, FrameSampling(num_frames=3)):
                if isinstance(clip, Clip):
                    self._stills[path] = _still(clip.frames[1])
                else:  # the page may be shown to others: our folders are not their business
                    self._stills[path] = Still(fault=str(clip).replace(str(path), path.name))
                progress.advance()

    def still(self, video: Video) -> Still:
        """Return a video's still, an empty one where none was drawn."""
        return self._stills.get(video.path, Still())


@dataclass(frozen=True)
class Page:
    """What a section needs of its page: the prompts that are known, the videos, how many examples to show."""

    prompts: Mapping[str, Prompt]
    videos: Videos
    examples: int


def relative_url(path: Path, folder: Path) -> str:
    """Return the address of a file relative to a folder, every character that means something in a URL escaped.

    Raises InputError where there is no relative path, as between two drives.
    """
    try:
        relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        raise InputError(f"video {path} is not on the drive of the report; give --copy_videos") from None
    return urllib.parse.quote(relative, safe="/", errors="surrogateescape")


def _still(frame: Any) -> Still:
    """Return a frame (H, W, 3) uint8 as a small JPEG."""
    from PIL import Image

    image = Image.fromarray(frame)
    width, height = image.size
    if width > STILL_WIDTH:
        image = image.resize((STILL_WIDTH, max(1, round(height * STILL_WIDTH / width))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=STILL_QUALITY)
    return Still("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height)
