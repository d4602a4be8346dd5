"""What a protocol of remote files needs from the user: a package to install, and where its keys come from."""

from __future__ import annotations

from typing import NamedTuple


class Protocol(NamedTuple):
    """What to say about a protocol."""

    package: str
    keys: str


_AWS = Protocol(
    "surveycnn[s3]",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, FSSPEC_S3_ANON=true for a public bucket, and "
    "AWS_ENDPOINT_URL for a store that is not Amazon's",
)
_GOOGLE = Protocol("gcsfs", "set GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for a public bucket")
_AZURE = Protocol("adlfs", "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
_OTHER = Protocol("what its protocol needs", "check the address and the permissions")
_KNOWN = {"s3": _AWS, "s3a": _AWS, "gs": _GOOGLE, "gcs": _GOOGLE, "abfs": _AZURE, "abfss": _AZURE, "az": _AZURE}


def protocol_of(url: str) -> Protocol:
    """What to say about the protocol of a URL.

    >>> protocol_of("s3://bucket/g.fits").package, protocol_of("https://a/g.fits").keys
    ('surveycnn[s3]', 'check the address and the permissions')
    """
    return _KNOWN.get(url.partition("://")[0], _OTHER)
