"""A GPU is taken by those who were given one, whatever torch sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from threedrs_components import devices, randomness
from threedrs_components.devices import backend_for, device_for, named_device
from threedrs_platform.errors import ConfigError
from threedrs_platform.fake_gpus import FAKE_GPUS


@pytest.fixture
def machine_with_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(FAKE_GPUS, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    yield


@pytest.mark.usefixtures("machine_with_gpus")
def test_a_step_that_is_given_none_runs_on_the_cpu() -> None:
    assert (device_for(0).type, backend_for(0)) == ("cpu", "gloo")
    assert (device_for(1).type, backend_for(1)) == ("cuda", "nccl")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FAKE_GPUS, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch finds none"):
        device_for(1)


@pytest.mark.usefixtures("machine_with_gpus")
def test_a_pretended_gpu_is_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(FAKE_GPUS, "8")
    assert (device_for(1).type, backend_for(8)) == ("cpu", "gloo")
    assert caplog.record_tuples[0][0] == devices.__name__ and FAKE_GPUS in caplog.text


@pytest.mark.usefixtures("machine_with_gpus")
def test_random_numbers_open_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a GPU was opened")

    monkeypatch.setattr(torch.cuda, "_lazy_init", opened)
    with randomness.seeded(1):
        first = torch.rand(2)
    with randomness.seeded(1):
        assert torch.equal(torch.rand(2), first)


@pytest.mark.parametrize("name", ["cuda:99", "gpu"])
def test_a_device_that_is_not_here_is_refused_by_name(name: str) -> None:
    assert named_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=f"'{name}' is no device here: "):
        named_device(name)
