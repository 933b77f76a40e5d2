"""Signatures of Amazon Web Services, version 4, by credentials of the standard chain or of a role they may assume."""

import asyncio
import math
from datetime import datetime
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError
from botocore.session import Session

from proxy.config import ProviderConfig
from proxy.credentials.base import Clock, Held, Lease, Report
from proxy.providers.base import Headers

SERVICE: Final = "bedrock"
SESSION_NAME: Final = "responses-proxy"
"""What the account's audit trail shows of an assumed role."""
ADDED: Final = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
SIGNED: Final = ("host", "content-type", "x-amz")
"""Beginnings of the names of headers that are signed: what the service insists on, and no more. Anybody on the way
may rewrite the others."""
LARGE: Final = 262_144
"""Bytes of a body from which on it is hashed in a thread: megabytes of images would hold up the loop."""
TIMEOUTS: Final = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"})


class Signature:
    """A signature over each request."""

    def __init__(self, config: ProviderConfig, clock: Clock, report: Report) -> None:
        self._region = config.region or ""
        source = RoleSource(config) if config.role_arn is not None else ChainSource(config)
        self._lease = Lease(source, clock, report)

    async def headers(self, method: str, url: str, headers: Headers, body: bytes) -> Headers:
        """Sign a request that has these headers already; `Host` is the URL's where it is not among them.

        A path is escaped once more for the signature, as every service but S3 wants it: `url` is as it is sent.
        """
        credentials = await self._lease.get()
        signer = SigV4Auth(credentials, SERVICE, self._region)
        request = AWSRequest(method=method, url=url, data=body)
        for name, value in headers:
            if name.lower().startswith(SIGNED):
                request.headers[name] = value
        if len(body) < LARGE:
            signer.add_auth(request)
        else:
            await asyncio.to_thread(signer.add_auth, request)
        return [(name, request.headers[name]) for name in ADDED if name in request.headers]

    async def close(self) -> None:
        """Give up a renewal under way."""
        await self._lease.close()


class ChainSource:
    """The standard chain: environment, files, container, instance, single sign-on."""

    def __init__(self, config: ProviderConfig) -> None:
        self._profile = config.profile
        self._region = config.region
        self._session: Session | None = None

    def obtain(self) -> Held[ReadOnlyCredentials]:
        """Return what the chain has; credentials that expire renew themselves when they are about to."""
        found = self._found()
        frozen = found.get_frozen_credentials()
        # botocore keeps to itself when credentials expire; those that do not, have no such field.
        expires: datetime | None = getattr(found, "_expiry_time", None)
        return Held(frozen, expires.timestamp() if expires is not None else math.inf)

    def _found(self) -> Credentials:
        found = self.session().get_credentials()
        if found is None:
            raise NoCredentialsError
        return found

    def session(self) -> Session:
        """Return the chain's session, which reads the configuration files of the AWS tools."""
        if self._session is None:
            self._session = Session(profile=self._profile)
            self._session.set_config_variable("region", self._region)
        return self._session

    def close(self) -> None:
        """Do nothing: no connection is kept."""


class RoleSource:
    """A role, assumed anew by what the chain has whenever its credentials are about to expire."""

    def __init__(self, config: ProviderConfig) -> None:
        self._chain = ChainSource(config)
        self._role = config.role_arn or ""
        self._region = config.region

    def obtain(self) -> Held[ReadOnlyCredentials]:
        """Assume the role."""
        granted = self._assume(self._chain.obtain().value)["Credentials"]
        credentials = ReadOnlyCredentials(
            granted["AccessKeyId"], granted["SecretAccessKey"], granted["SessionToken"], None
        )
        return Held(credentials, granted["Expiration"].timestamp())

    def _assume(self, own: ReadOnlyCredentials) -> Any:
        client: Any = self._chain.session().create_client(
            "sts",
            region_name=self._region,
            aws_access_key_id=own.access_key,
            aws_secret_access_key=own.secret_key,
            aws_session_token=own.token,
            config=TIMEOUTS,
        )
        try:
            return client.assume_role(RoleArn=self._role, RoleSessionName=SESSION_NAME)
        finally:
            client.close()

    def close(self) -> None:
        """Do nothing: no connection is kept."""
