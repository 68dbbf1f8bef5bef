"""Fetching what anybody may have, by the library of the hub that holds it."""

from __future__ import annotations

from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_workflows.sources.catalogue import source_named


def fetch(name: str, root: Path) -> Path:
    """Download a source into its folder under `root`; what is there already is not fetched again.

    Returns:
        the folder.

    Raises:
        ConfigError: there is no such source, or a signature is needed; says where to go.
        StorageError: the hub does not answer, or the files cannot be written.
    """
    source = source_named(name)
    if source.hub is None:
        message = f"{name} is not fetched for you: {source.origin} (licence: {source.licence})"
        raise ConfigError([Fault(message)])
    # A second to import, for one verb of many.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    folder = root / source.hub.into
    try:
        snapshot_download(
            source.hub.repository,
            repo_type=source.hub.type,
            local_dir=folder,
            allow_patterns=None if source.hub.patterns is None else [*source.hub.patterns],
        )
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StorageError(
            f"{source.hub.repository} could not be fetched: {reason}; fetch it elsewhere from "
            f"{source.origin} and lay it into {folder}"
        ) from error
    return folder
