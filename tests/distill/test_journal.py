import sqlite3

import pytest

from distill.journal import Journal, Record, known_states
from reward.errors import InputError, WorldcriticError

TEACHER = {"name": "openai:m", "temperature": 0.0}
YES = Record("k1", "answer", "yes", 0.8, "logprobs", 0.9, "Yes", None, '{"name": "m"}', 1, 100, 2, 0.5)
ERROR = Record("k2", "error", error="HTTP 500", calls=1)


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite", TEACHER) as journal:
        journal.record([YES, ERROR])
        yield journal


def test_rows_come_back_as_they_were_also_in_a_new_process(journal, tmp_path):
    assert list(journal.records(["k2", "none", "k1"])) == [ERROR, YES]
    with Journal(tmp_path / "journal.sqlite", TEACHER) as again:
        assert again.states() == {"k1": "answer", "k2": "error"}
    assert known_states(tmp_path / "journal.sqlite", TEACHER)[0] == {"k1": "answer", "k2": "error"}


def test_a_second_attempt_replaces_the_row_and_adds_up_its_cost(journal):
    journal.record(
        [Record("k2", "answer", "no", 0.0, "parsed", calls=1, input_tokens=50, output_tokens=1, dollars=0.1)]
    )
    (row,) = journal.records(["k2"])
    assert (row.state, row.answer, row.error, row.calls, row.input_tokens) == ("answer", "no", None, 2, 50)
    spent = journal.spent()
    assert (spent.calls, spent.input_tokens, spent.output_tokens) == (3, 150, 3)
    assert spent.dollars == pytest.approx(0.6)


def test_a_journal_is_bound_to_its_teacher(journal, tmp_path):
    with pytest.raises(InputError, match=r"temperature 0\.0 instead of 1\.0"):
        Journal(tmp_path / "journal.sqlite", TEACHER | {"temperature": 1.0})
    with pytest.raises(InputError, match="another teacher"):
        known_states(tmp_path / "journal.sqlite", {"name": "other"})


def test_merging_takes_answers_and_keeps_ours_and_twice_changes_nothing(journal, tmp_path):
    with Journal(tmp_path / "other.sqlite", TEACHER) as other:
        better = Record("k2", "answer", "no", 0.1, "logprobs")
        other.record([Record("k1", "answer", "no", 0.2, "logprobs"), better, Record("k3", "refusal", raw="no thanks")])
    assert journal.merge(tmp_path / "other.sqlite") == {"conflicting": 1, "better": 1, "new": 1}
    assert [row.answer for row in journal.records(["k1", "k2", "k3"])] == ["yes", "no", None]
    assert journal.merge(tmp_path / "other.sqlite") == {"conflicting": 1, "known": 2}
    with Journal(tmp_path / "third.sqlite", {"name": "other"}):
        pass
    with pytest.raises(InputError, match="another teacher"):
        journal.merge(tmp_path / "third.sqlite")
    with pytest.raises(InputError, match="does not exist"):
        journal.merge(tmp_path / "fourth.sqlite")


def test_an_interrupted_transaction_leaves_nothing(journal):
    with pytest.raises(sqlite3.ProgrammingError):
        journal.record([Record("k9", "answer", "yes", 1.0), Record("k10", object())])
    assert set(journal.states()) == {"k1", "k2"}
    journal.record([Record("k9", "answer", "yes", 1.0)])
    assert set(journal.states()) == {"k1", "k2", "k9"}


def test_a_half_written_transaction_of_a_killed_run_is_undone_also_when_merged(journal, tmp_path):
    """A copy of journal and rollback file in the middle of a transaction is what a kill leaves behind."""
    with Journal(tmp_path / "other.sqlite", TEACHER) as other:
        other.record([Record(f"k{i}", "answer", "yes", 1.0, raw="x" * 500) for i in range(100)])
        other._connection.execute("PRAGMA cache_size = 1")  # so that the file itself is changed before the end
        other._connection.execute("BEGIN")
        other._connection.execute("UPDATE labels SET answer = 'no', raw = raw || raw")
        for name in ("other.sqlite", "other.sqlite-journal"):
            (tmp_path / name.replace("other", "killed")).write_bytes((tmp_path / name).read_bytes())
        other._connection.execute("ROLLBACK")
    assert (tmp_path / "killed.sqlite-journal").stat().st_size > 0
    assert journal.merge(tmp_path / "killed.sqlite")["new"] == 98
    assert {row.answer for row in journal.records(f"k{i}" for i in range(3, 100))} == {"yes"}


def test_another_file_is_not_taken_for_a_journal(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_text("this is a diary, and a rather long one at that\n" * 50)
    with pytest.raises(InputError, match="no journal"):
        Journal(path, TEACHER)
    assert path.read_text().startswith("this is a diary")


def test_a_disk_that_takes_no_more_stops_with_its_name(journal, tmp_path):
    """SQLite's own page limit fails a write the way a full disk does."""
    journal._connection.execute("PRAGMA max_page_count = 8")
    rows = [Record(f"big{i}", "answer", "yes", 1.0, raw="x" * 1000) for i in range(200)]
    with pytest.raises(WorldcriticError, match=r"journal\.sqlite cannot be .*: database or disk is full"):
        journal.record(rows)
    assert journal.states() == {"k1": "answer", "k2": "error"}
    journal.record(rows[:1])
    assert journal.states()["big0"] == "answer"
