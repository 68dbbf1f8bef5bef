import os
import subprocess
import sys

from threedrs_platform.database.owners import (
    Owner,
    is_dead,
    parse_owner,
    process_start,
    this_host,
    this_owner,
)


def test_an_owner_survives_being_written_down() -> None:
    owner = this_owner()
    assert parse_owner(str(owner)) == owner


def test_this_process_lives() -> None:
    assert not this_owner().is_dead()
    assert not is_dead(None)


def test_an_ended_process_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner(this_host(), child.pid, process_start(child.pid), "t")
    assert not owner.is_dead()
    child.communicate()
    assert owner.is_dead()


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner(this_host(), child.pid, process_start(child.pid), "t")
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner.is_dead()
    child.wait()


def test_another_process_with_the_same_number_is_not_the_owner() -> None:
    assert Owner(this_host(), os.getpid(), "12345", "t").is_dead()


def test_nothing_can_be_proved_of_another_host() -> None:
    assert not Owner("elsewhere/boot/1", 1, "1", "t").is_dead()
