"""Who is at the other end of a socket, and in which groups."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from rkllmd.wire.credentials import Credentials, credentials_of, groups_of, groups_of_user


def test_the_other_end_is_the_process_that_made_it() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert credentials_of(one) == Credentials(os.getpid(), os.getuid(), os.getgid())


def test_a_socket_that_is_closed_has_no_other_end() -> None:
    with socket.socket(socket.AF_UNIX) as closed:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        credentials_of(closed)


def test_the_kernel_says_in_which_groups_the_other_end_is() -> None:
    one, other = socket.socketpair()
    with one, other:
        found = groups_of(one, credentials_of(one))
    assert found == {os.getegid(), *os.getgroups()}


def test_the_groups_of_a_user_are_those_of_the_systems_database() -> None:
    entry = pwd.getpwuid(0)
    assert entry.pw_gid in groups_of_user(0)
    assert groups_of_user(None) == groups_of_user(2**31) == frozenset()
