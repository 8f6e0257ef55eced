"""What programs of a guest did is read as the guest's kernel wrote it."""

import pytest

from testbed.tools.syscall_profile import FAULT, SWITCH, Did, read_profile

TEXT = """\
user 9 3000000 obfs4proxy
kernel 5 900000000000 swapper
switch 4 0 obfs4proxy
futex 7 50000 obfs4proxy
write 7 60000 obfs4proxy
fault 2 10000 obfs4proxy
user 1 5000000 Thread 0x0x5400
"""


def test_programs_come_by_what_they_took_and_idling_last() -> None:
    first, second, idle = read_profile(TEXT)
    assert (first.name, second.name, idle.name) == ("Thread 0x0x5400", "obfs4proxy", "swapper")
    assert second.took_s == pytest.approx(0.00312)


def test_calls_come_by_how_many_and_nothing_else_is_one() -> None:
    program = read_profile(TEXT)[1]
    assert program.syscalls == [Did("futex", 7, 0.00005), Did("write", 7, 0.00006)]
    assert (program.count(FAULT), program.count(SWITCH), program.count("read")) == (2, 4, 0)


@pytest.mark.parametrize("text", ["user 9", "user x 1 a"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not enough values|invalid literal"):
        read_profile(text)
