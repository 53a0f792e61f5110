"""Checks of this machine: packages, device, number formats, video decoders and encoders, disk space."""

import importlib.metadata
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reward.errors import InputError
from reward.video import FrameSampling, read_video, write_video
from rl.checks.outcome import Check, Outcome, failed, passed, skipped, warned

if TYPE_CHECKING:
    import torch

PACKAGE = "worldcritic"
EXTRAS = {"rl": "sample, dpo, rwr, nft", "distill": "dataset, sft", "teacher": "label"}
"""Optional dependencies that users install, and the verbs that need them."""
_SHOWN = ("torch", "transformers", "diffusers", "peft", "accelerate", "av")
_SLOWER = 1.5
_MATMUL = 384
_LEAST_GB, _SMALL_GB = 1.0, 20.0
_DECODERS_AGREE = 1.0
"""Mean difference in levels of 255: two YUV to RGB conversions round differently."""


def environment_checks(device: str, dtype: str, out: Path | None) -> list[Check]:
    """Return the checks of the machine, for a device and number format as the options name them."""
    return [
        Check("python and packages", packages),
        *(Check(f"extra [{extra}]", lambda extra=extra: optional_packages(extra)) for extra in EXTRAS),  # type: ignore[misc]
        Check("device", lambda: device_usable(device)),
        Check("bfloat16 speed", lambda: bfloat16_speed(device, dtype)),
        Check("video decoders agree", decoders_agree),
        Check("video encoders", encoders),
        Check("disk space", lambda: disk_space(out)),
    ]


def packages() -> Outcome:
    """Check that the required packages are there in versions that the package asks for."""
    shown = ", ".join([f"python {platform.python_version()}", *(f"{name} {_version(name) or '-'}" for name in _SHOWN)])
    wrong = _unsatisfied(None)
    if wrong:
        return failed("; ".join(wrong), f"pip install --upgrade {PACKAGE}")
    return passed(shown, "as required")


def optional_packages(extra: str) -> Outcome:
    """Check the packages of an extra, which some verbs need."""
    wrong = _unsatisfied(extra)
    if not wrong:
        return passed("installed", f"for {EXTRAS[extra]}")
    return skipped(f"not installed: {'; '.join(wrong)}", f'for {EXTRAS[extra]}: pip install "{PACKAGE}[{extra}]"')


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _unsatisfied(extra: str | None) -> list[str]:
    """Return what is missing or of another version, of the required packages or of an extra's own."""
    from packaging.requirements import Requirement

    wrong = []
    for line in importlib.metadata.requires(PACKAGE) or ():
        requirement = Requirement(line)
        of_extra = requirement.marker is not None and "extra" in str(requirement.marker)
        asked = requirement.marker is None or requirement.marker.evaluate({"extra": extra or ""})
        if not asked or of_extra != (extra is not None):
            continue
        version = _version(requirement.name)
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return wrong


def device_usable(device: str) -> Outcome:
    """Check that the device can be used, and say what is there."""
    import torch

    from reward.loading import torch_device

    there = [f"cpu ({torch.get_num_threads()} threads)"]
    there += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    there += ["mps"] if torch.backends.mps.is_available() else []
    try:
        used = torch_device(device)
    except InputError as error:
        return failed(str(error), f"--device is one of: {', '.join(there)}")
    return passed(f"uses {used}; there are {', '.join(there)}")


def bfloat16_speed(device: str, dtype: str) -> Outcome:
    """Check that bfloat16 is not slower than float32 here: on a CPU without AMX or AVX512-BF16 it is, many times."""
    import torch

    from reward.loading import torch_device

    where = torch_device(device)
    try:
        slow, fast = (_matmul_seconds(where, number) for number in (torch.bfloat16, torch.float32))
    except (RuntimeError, TypeError) as error:
        return warned(f"bfloat16 does not run on {where}: {error}", "use --dtype float32")
    ratio = slow / fast
    measured, bar = f"{ratio:.2f} times the time of float32", f"at most {_SLOWER}"
    if ratio <= _SLOWER:
        return passed(measured, bar, ratio)
    asked = "you ask for it: " if dtype == "bfloat16" else ""
    return warned(measured, f"{asked}use --dtype float32 on {where}", bar, ratio)


def _matmul_seconds(device: "torch.device", number: "torch.dtype") -> float:
    import torch

    values = torch.ones(_MATMUL, _MATMUL, device=device, dtype=number)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        float((values @ values)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def decoders_agree() -> Outcome:
    """Check that PyAV reads back what was written, and that decord reads the same."""
    frames = _test_card()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.mp4"
        write_video(path, frames, fps=8, crf=1)
        sampling = FrameSampling(num_frames=len(frames))
        first = read_video(path, sampling, backend="pyav").frames.astype(np.int16)
        if _version("decord") is None:
            return _as_written(first, frames, "PyAV alone (decord is not installed)")
        second = read_video(path, sampling, backend="decord").frames.astype(np.int16)
    apart = float(np.abs(first - second).mean())
    if not apart <= _DECODERS_AGREE:
        return failed(
            f"mean difference {apart:.2f} levels of 255",
            "use --decoder pyav for scoring, and score everything with one decoder",
            f"{_DECODERS_AGREE:g}",
            apart,
        )
    return _as_written(first, frames, f"PyAV and decord differ by {apart:.2f} levels of 255")


def _as_written(read: Any, frames: Any, measured: str) -> Outcome:
    lost = float(np.abs(read - frames.astype(np.int16)).mean())
    measured, bar = f"{measured}; they read what was written within {lost:.2f}", "1; within 4"
    if read.shape == frames.shape and lost <= 4:
        return passed(measured, bar, lost)
    return failed(measured, "the video library here is broken; pip install --force-reinstall av", bar, lost)


def _test_card() -> Any:
    """Return eight frames of 64 x 64: grey ramps, and a square that moves over them."""
    ramp = np.linspace(40, 200, 64, dtype=np.float32)
    frames = np.broadcast_to(ramp[None, None, :, None], (8, 64, 64, 3)).astype(np.uint8)
    for t, frame in enumerate(frames):
        frame[16:48, 4 * t : 4 * t + 32] = (180, 60, 60)
    return frames


def encoders() -> Outcome:
    """Check that H.264 can be written."""
    import av

    found = [name for name in ("libx264", "libx265", "libsvtav1", "libaom-av1", "libvpx-vp9") if _can_encode(av, name)]
    measured = f"{', '.join(found) or 'none'} (PyAV {av.__version__})"
    if "libx264" in found:
        return passed(measured, "libx264")
    return failed(measured, "videos cannot be written without libx264; pip install --force-reinstall av", "libx264")


def _can_encode(av: Any, name: str) -> bool:
    try:
        av.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True


def disk_space(out: Path | None) -> Outcome:
    """Check the space where results will be written: the folder of --out, or this one."""
    folder = (out or Path.cwd() / "doctor.json").expanduser().resolve().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    measured, bar = f"{free:.1f} GB free at {folder}", f"{_LEAST_GB:g} GB"
    if free < _LEAST_GB:
        return failed(measured, "make room, or write elsewhere", bar, free)
    if free < _SMALL_GB:
        return warned(measured, "enough for tiny models; clips and checkpoints of real ones take more", bar, free)
    return passed(measured, bar, free)
