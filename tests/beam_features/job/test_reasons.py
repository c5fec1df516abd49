"""The table of reasons why recordings were not used."""

from beam_features.job.reasons import reasons_table
from beam_features.recording import Rejection


def test_counts_and_a_few_names_the_most_frequent_first():
    unused = [Rejection(f"/in/a/{k}.wav", "decode", "truncated", "") for k in range(5)]
    unused += [
        Rejection("/in/b.mp3", "read", "missing", ""),
        Rejection("x.mp3", "list", "empty", ""),
    ]
    assert reasons_table(unused, "/in/") == (
        "rejected: 7\n"
        "  truncated             5  a/0.wav, a/1.wav, a/2.wav and 2 more\n"
        "  empty                 1  x.mp3\n"
        "  missing               1  b.mp3"
    )


def test_none():
    assert reasons_table([], "/in") == "rejected: none"


def test_names_that_no_terminal_shows_are_escaped():
    unused = [Rejection("/in/two\nlines\udcff.wav", "list", "bad_name", "")]
    assert reasons_table(unused, "/in").splitlines()[1] == (
        "  bad_name              1  two\\nlines\\udcff.wav"
    )
