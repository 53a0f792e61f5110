"""Videos in and out: strict reading by time, writing, and reading in child processes that can be killed.

PyAV reads by default. decord, the reader of VideoVerse's own evaluation, stays as `backend="decord"`: alone it
returns concealed frames from damaged files without a word, so that its pixels are only handed out after the same
strict check by PyAV. Importing this package loads no decoder.
"""

from reward.video.clip import Clip, FrameSampling, VideoLimits
from reward.video.read import read_video
from reward.video.readers import VideoReaders
from reward.video.write import write_video

__all__ = ["Clip", "FrameSampling", "VideoLimits", "VideoReaders", "read_video", "write_video"]
