"""A file that several append to while others write it anew."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from gateway.components.auth.line_file import LineFile


def opened(path: Path) -> LineFile:
    file = LineFile(str(path))
    file.open()
    return file


def all_of(lines: Sequence[bytes]) -> Sequence[bytes]:
    return lines


def test_nothing_that_is_appended_is_lost_while_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    files = [opened(path) for _ in range(3)]
    is_over = threading.Event()
    rewritten: list[bool] = []

    def append(number: int) -> None:
        for place in range(100):
            files[number].append([f"{number} {place}".encode()])

    def rewrite() -> None:
        while not is_over.is_set():
            rewritten.append(LineFile(str(path)).rewrite(all_of))

    rewriters = [threading.Thread(target=rewrite) for _ in range(2)]
    appenders = [threading.Thread(target=append, args=(number,)) for number in range(3)]
    for thread in (*rewriters, *appenders):
        thread.start()
    for thread in appenders:
        thread.join()
    is_over.set()
    for thread in rewriters:
        thread.join()
    assert any(rewritten)
    expected = sorted(f"{number} {place}" for number in range(3) for place in range(100))
    assert sorted(path.read_text().splitlines()) == expected
    for file in files:
        assert len(file.read_on()) > 0
        file.close()


def test_what_was_read_once_is_read_again_only_when_it_was_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    one, two = opened(path), opened(path)
    one.append([b"a", b"b"])
    assert two.read_on() == [b"a", b"b"]
    assert two.read_on() == ()
    assert one.rewrite(lambda lines: [line for line in lines if line != b"a"])
    one.append([b"c"])
    assert two.read_on() == [b"b", b"c"]
    assert (two.lines, two.read_on()) == (2, ())
    one.close()
    two.close()


def test_a_line_that_was_torn_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\nhal")
    file = opened(path)
    assert file.read_on() == [b"a"]
    file.append([b"b"])
    assert file.read_on() == [b"hal", b"b"]
    file.close()


def test_what_a_killed_one_has_left_aside_is_of_no_account(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    (tmp_path / "lines.new").write_bytes(b"half of i")
    file = opened(path)
    file.append([b"a"])
    assert file.rewrite(all_of)
    assert path.read_bytes() == b"a\n"
    assert file.read_on() == [b"a"]
    file.close()
