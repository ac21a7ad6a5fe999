#!/usr/bin/env python3
"""Create the bucket that is named, if it is not there: ``create_bucket.py BUCKET``.

Endpoint, region and keys come from the environment, as for every AWS client.
"""

from __future__ import annotations

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def create(bucket: str) -> None:
    """Create ``bucket``; one that is ours already is what we want.

    Raises:
        ClientError: The server refuses, e.g. because the keys are wrong.
    """
    patient = Config(retries={"max_attempts": 10, "mode": "standard"})
    try:
        boto3.client("s3", config=patient).create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {
            "BucketAlreadyOwnedByYou",
            "BucketAlreadyExists",
        }:
            raise


if __name__ == "__main__":
    create(sys.argv[1])
