import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from reward.errors import InputError, VideoError
from reward.video import FrameSampling, VideoLimits, VideoReaders, read_video


@pytest.fixture
def clips(zoo) -> list[Path]:
    return [zoo.encode(f"clip{i}.mp4", frames=zoo.pictures(10 + i)) for i in range(5)]


def pids(readers: VideoReaders) -> list[int]:
    return [child.process.pid for child in readers._children]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().split()[2] != "Z"


def assert_all_end(children: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(map(is_alive, children)):
        assert time.monotonic() < deadline, "children are left over"
        time.sleep(0.02)


def test_children_give_what_read_video_gives(clips):
    with VideoReaders(workers=1) as readers:
        ours, theirs = readers.read(clips[3], FrameSampling(4)), read_video(clips[3], FrameSampling(4))
        children = pids(readers)
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    np.testing.assert_array_equal(ours.timestamps, theirs.timestamps)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    assert (ours.duration, ours.fps, ours.num_source_frames) == (theirs.duration, theirs.fps, theirs.num_source_frames)
    assert_all_end(children)


def test_a_stream_keeps_order_and_puts_errors_in_their_place(clips, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clips[0].read_bytes()[:-200])
    paths = [clips[0], broken, clips[1], tmp_path / "none.mp4", clips[2]]
    with VideoReaders(workers=2) as readers:
        results = list(readers.stream(paths, FrameSampling(3)))
        assert len(pids(readers)) == 2
    assert [path for path, _ in results] == paths
    assert [isinstance(result, VideoError) for _, result in results] == [False, True, False, True, False]
    assert [result.num_source_frames for _, result in results[::2]] == [10, 11, 12]
    assert "truncated" in str(results[1][1])
    assert str(broken) in str(results[1][1])


def test_a_stream_reads_only_a_little_ahead(clips):
    taken = []

    def paths():
        for path in clips * 3:
            taken.append(path)
            yield path

    with VideoReaders(workers=1) as readers:
        stream = readers.stream(paths(), FrameSampling(2))
        next(stream)
        assert len(taken) <= 3
        stream.close()


def test_a_child_that_hangs_is_replaced(clips):
    with VideoReaders(workers=1, seconds=1.0) as readers:
        readers.read(clips[0])
        (stuck,) = pids(readers)
        os.kill(stuck, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(VideoError, match=r"clip1\.mp4 took longer than 1 s"):
            readers.read(clips[1])
        assert time.monotonic() - started < 5
        assert readers.read(clips[1], FrameSampling(3)).num_source_frames == 11
        assert stuck not in pids(readers)
    assert_all_end([stuck])


def test_a_child_that_dies_at_work_costs_its_video_only(clips):
    with VideoReaders(workers=1) as readers:
        readers.read(clips[0])
        (child,) = pids(readers)
        os.kill(child, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (child, signal.SIGSEGV)).start()
        threading.Timer(0.4, os.kill, (child, signal.SIGCONT)).start()
        with pytest.raises(VideoError, match=r"clip1\.mp4: its decoder died with signal SIGSEGV"):
            readers.read(clips[1])
        assert readers.read(clips[1]).num_source_frames == 11


def test_a_child_that_died_idle_costs_nothing(clips):
    with VideoReaders(workers=1) as readers:
        readers.read(clips[0])
        (child,) = pids(readers)
        os.kill(child, signal.SIGKILL)
        time.sleep(0.2)
        assert readers.read(clips[1]).num_source_frames == 11


def test_limits_hold_in_the_child(clips):
    with VideoReaders(workers=1, limits=VideoLimits(max_frames=12)) as readers:
        readers.read(clips[0])
        with pytest.raises(VideoError, match="over the limit of 12"):
            readers.read(clips[4])


def test_leaving_while_a_child_hangs_ends_it(clips):
    with VideoReaders(workers=1) as readers:
        readers.read(clips[0])
        children = pids(readers)
        os.kill(children[0], signal.SIGSTOP)
    assert_all_end(children)
    with pytest.raises(VideoError, match="closed"):
        readers.read(clips[0])


def test_leaving_a_stream_does_not_wait_for_a_child_that_hangs(clips):
    started = time.monotonic()
    with VideoReaders(workers=1) as readers:
        stream = readers.stream(clips, FrameSampling(2))
        next(stream)
        children = pids(readers)
        os.kill(children[0], signal.SIGSTOP)
        stream.close()
    assert time.monotonic() - started < 20
    assert_all_end(children)


SCRIPT = """
import signal, sys
from reward.video import FrameSampling, VideoReaders
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background deaf to it
with VideoReaders(workers=2) as readers:
    for _ in range(2):
        for path, clip in readers.stream(sys.argv[1:], FrameSampling(2)):
            print(*[child.process.pid for child in readers._children], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_no_orphans_when_the_parent_goes(clips, kill, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    root = str(Path(sys.modules["reward.video"].__file__).parents[2])
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {root!r})\n{SCRIPT}")
    parent = subprocess.Popen(
        [sys.executable, str(script), *map(str, clips)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path,
        text=True,
    )
    lines = [parent.stdout.readline() for _ in range(10)]
    children = [int(pid) for pid in lines[-1].split()]
    assert len(children) == 2
    assert all(map(is_alive, children))
    parent.send_signal(kill)
    parent.wait(timeout=10)
    parent.stdin.close()
    parent.stdout.close()
    assert_all_end(children)


def test_importing_the_package_loads_no_decoder():
    code = "import sys, reward.video; print([m for m in ('av', 'decord', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"seconds": 0}, {"seconds": float("nan")}])
def test_bad_settings_are_refused(arguments):
    with pytest.raises(InputError, match="workers and seconds"):
        VideoReaders(**arguments)
