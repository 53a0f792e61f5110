"""Files that survive crashes, and paths that stay inside."""

import json
import multiprocessing

import pytest

from reward.errors import InputError
from reward.files import append_jsonl, check_id, heal_jsonl, inside, read_jsonl, write_atomic, write_json, writing


@pytest.mark.parametrize("identifier", ["a", "8f348e44-546c-4319", "A.b_c-d", "x" * 128])
def test_safe_ids_pass(identifier):
    assert check_id(identifier, "here") == identifier


@pytest.mark.parametrize(
    "identifier", ["", ".hidden", "a/b", "..", "a b", "a\0", "ä", "x" * 129, 3, None, "NUL.txt", "-a"]
)
def test_unsafe_ids_are_refused(identifier):
    with pytest.raises(InputError, match="here"):
        check_id(identifier, "here")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "https://x/y", "a\0b", "a\\..\\..\\b"])
def test_paths_that_leave_are_refused(tmp_path, path):
    with pytest.raises(InputError, match="list:3"):
        inside(tmp_path, path, "list:3")


def test_links_that_leave_are_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "in").write_text("")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root" / "in")
    assert inside(tmp_path / "root", "link", "here")
    with pytest.raises(InputError, match="leaves the folder"):
        inside(tmp_path / "root", "out/x", "here")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_atomic(path, 3)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_torn_line_is_cut_and_whole_lines_stay(tmp_path):
    path = tmp_path / "a.jsonl"
    append_jsonl(path, {"a": 1})
    append_jsonl(path, {"a": "zwei\u2028"})
    assert not heal_jsonl(path)
    with path.open("a") as file:
        file.write('{"a": 3')
    assert heal_jsonl(path)
    assert [row for _, row in read_jsonl(path, "file")] == [{"a": 1}, {"a": "zwei\u2028"}]


def hold(path, held, done):
    with writing(path):
        held.set()
        done.wait(30)


def test_two_writers_of_one_file_are_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "out", held, done))
    process.start()
    try:
        assert held.wait(30)
        with pytest.raises(InputError, match="another process is writing"), writing(tmp_path / "out"):
            pass
    finally:
        done.set()
        process.join()
    with writing(tmp_path / "out"):
        pass
