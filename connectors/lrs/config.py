"""The settings of an LRS, and the clients that are made of them."""

from __future__ import annotations

import base64
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from bridge.connect import Config, Http, HttpUrl, SecretStr

VERSION_HEADER = "X-Experience-API-Version"


class LrsConfig(Config):
    endpoint: HttpUrl = Field(description="With or without a slash or `/statements` at its end.")
    key: str = Field(default="", description="Basic credentials, with `secret`.")
    secret: SecretStr | None = Field(default=None, min_length=1)
    token: SecretStr | None = Field(default=None, min_length=1, description="A bearer token instead of both.")
    version: Literal["1.0.3", "2.0.0"] = Field(default="1.0.3", description="The xAPI version that is spoken there.")

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_bare(cls, endpoint: HttpUrl) -> HttpUrl:
        if endpoint.username or endpoint.password or endpoint.query or endpoint.fragment:
            raise ValueError("the endpoint is an address without credentials or a query")
        return endpoint

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if bool(self.key and self.secret) == bool(self.token) or bool(self.key) != bool(self.secret):
            raise ValueError("set `key` and `secret` (Basic), or `token` (Bearer)")
        if self.token and not re.fullmatch(r"[!-~]+", self.token.get_secret_value()):
            raise ValueError("`token` holds a blank, a line's end or a letter that no bearer token has (RFC 6750 2.1)")
        return self

    @property
    def address(self) -> str:
        """The address that /statements comes after, without a slash at its end."""
        return str(self.endpoint).rstrip("/").removesuffix("/statements").rstrip("/")

    def credential(self) -> str:
        """The Authorization header."""
        if self.token:
            return f"Bearer {self.token.get_secret_value()}"
        secret = self.secret.get_secret_value() if self.secret else ""
        return "Basic " + base64.b64encode(f"{self.key}:{secret}".encode()).decode()

    def client(self, http: Http, address: str = "", *, version: str = "") -> Http:
        """A client for the LRS, or for another address of its host, with these credentials."""
        credential = self.credential()
        secrets = [held.get_secret_value() for held in (self.secret, self.token) if held]
        return http.to(
            address or self.address,
            headers={"Authorization": credential, VERSION_HEADER: version or self.version},
            secrets=(*secrets, credential.split(" ", maxsplit=1)[1]),
        )
