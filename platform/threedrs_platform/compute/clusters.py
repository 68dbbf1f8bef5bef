"""Which Ray an address names, and whether it answers: told in seconds and in plain words."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault, StorageError

Result = TypeVar("Result")

NAMES = ("local", "none", "auto")
"""Values of `--ray` that are no addresses."""
CONNECT_S, ANSWER_S = 4.0, 4.0
"""How long a cluster may take to accept a connection, and to say that it is one."""


class ClusterLost(StorageError):
    """A Ray cluster does not answer, or is gone. No step is to blame."""


def check_spelling(address: str) -> None:
    """Refuse what cannot be the address of a cluster.

    Raises:
        ConfigError: says what would be right.
    """
    message = ""
    if address in NAMES:
        return
    if address.startswith("ray://"):
        message = "ray:// is Ray Client, through which no worker group can be started; give the "
        message += "address of the head itself, HOST:6379, on a machine that belongs to the cluster"
    elif "://" in address:
        message = "expected HOST:PORT, as `ray start --head` prints it"
    elif ":" not in address:
        hint = did_you_mean(address, NAMES)
        message = f"{address!r} is no address of a Ray cluster (HOST:PORT){hint}"
    elif not _parts(address)[0] or not 0 < _port(address) < 1 << 16:
        message = f"{address!r} is no address: expected HOST:PORT, most often port 6379"
    if message:
        raise ConfigError([Fault(message, "--ray")])


def why_silent(address: str, patience_s: float = CONNECT_S + ANSWER_S) -> str | None:
    """Why no cluster can be used at an address; None if one answers there.

    Args:
        patience_s: how long to wait for it in all, starting Python's part of Ray not included.
    """
    if address == "auto":
        import ray._private.services  # noqa: F401, takes seconds, and is no fault of the cluster
    found = within(patience_s / 2, lambda: _refusal(address, patience_s / 2))
    if found is None:
        return f"{address} does not answer within {patience_s / 2:g} s"
    return found[0] or _no_cluster(found[1], patience_s / 2)


def within(seconds: float, function: Callable[[], Result]) -> Result | None:
    """What a function returns, None if it has not by then; it is left to itself, as it may hang."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


def _parts(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _port(address: str) -> int:
    port = _parts(address)[1]
    return int(port) if port.isdigit() else 0


def _refusal(address: str, patience_s: float) -> tuple[str | None, str]:
    """Why no connection can be made, and the address with its name of `auto` looked up."""
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        try:
            address = canonicalize_bootstrap_address("auto") or ""
        except ConnectionError:
            address = ""
        if not address:
            return "no Ray runs on this machine; start one with `ray start --head`", ""
    host = _parts(address)[0]
    try:
        socket.create_connection((host, _port(address)), patience_s).close()
    except socket.gaierror:
        return f"no machine is known by the name {host!r}", address
    except OSError as error:
        return f"{address} cannot be reached: {error.strerror or error}", address
    return None, address


def _no_cluster(address: str, patience_s: float) -> str | None:
    """What is wrong with whatever answers at an address, None if it is a cluster like ours."""
    import grpc
    import ray
    from ray._private.gcs_utils import create_gcs_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    channel = create_gcs_channel(address)
    try:
        stub = vars(gcs_service_pb2_grpc)["NodeInfoGcsServiceStub"](channel)
        request = vars(gcs_service_pb2)["CheckAliveRequest"]()  # made by protobuf itself
        version = stub.CheckAlive(request, timeout=patience_s).ray_version
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            if _use_own_token():
                return _no_cluster(address, patience_s)
            return f"the cluster at {address} refuses our token; see RAY_AUTH_TOKEN_PATH of Ray"
        return f"what answers at {address} is no Ray cluster that is ready ({error.code().name})"
    except ray.exceptions.AuthenticationError:
        return f"the cluster at {address} wants a token; see RAY_AUTH_TOKEN_PATH of Ray"
    finally:
        channel.close()
    if version != ray.__version__:
        return f"the cluster at {address} runs Ray {version}, this is Ray {ray.__version__}"
    return None


def _use_own_token() -> bool:
    """Show the user's token (`ray start` guards clusters by it), as Ray's own commands do.

    Returns:
        whether one is shown now that was not before.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return False
    from ray._private.authentication import authentication_token_setup

    authentication_token_setup.logger.setLevel(logging.ERROR)  # it warns of a cluster being made

    return authentication_token_setup.maybe_enable_token_auth_if_token_available(False)
