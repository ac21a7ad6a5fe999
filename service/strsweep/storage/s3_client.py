"""The client of an S3-compatible service."""

from __future__ import annotations

from typing import Any

from boto3.session import Session
from botocore.config import Config

from strsweep.config import StorageConfig

_ATTEMPTS = 3
"""Of one call; what takes longer is an outage, which is ridden out by the store."""
_TIMEOUT_S = 20


def s3_client(config: StorageConfig) -> Any:
    """Return a boto3 client; it asks the service nothing yet.

    Args:
        config: Endpoint, region and addressing style; what is left out follows from the AWS
            environment, as credentials always do.
    """
    style = {None: "auto", True: "path", False: "virtual"}[config.path_style]
    options = Config(
        retries={"mode": "standard", "max_attempts": _ATTEMPTS},
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        s3={"addressing_style": style},
    )
    # A session of its own: boto3's shared one must not be used by several threads.
    session: Any = Session()
    return session.client(
        "s3", endpoint_url=config.endpoint, region_name=config.region, config=options
    )
