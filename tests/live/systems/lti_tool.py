"""What the LTI tools of the live tests have in common, whichever library they are made with."""

from tests.live.systems.system import REQUEST_SECONDS, System


class LtiTool(System):
    """An LTI tool that knows no platform until `register_platform`.

    A launch at `launch_url` shows the title of the resource, the person, the custom parameters (`dl#custom`) and a form
    that posts a score through the Assignment and Grade Services, with a token got by client credentials. `/members`
    answers the names and roles as JSON, `limit` to a page, and `/results` the results of the launch's line item; a deep
    linking request shows two items to choose from. What the platform refuses comes back as 502 with the platform's
    status and body.
    """

    ready_path = "/keys"

    @property
    def launch_url(self) -> str:
        """The target link URI and redirect URI."""
        return f"{self.base_url}/launch"

    @property
    def login_url(self) -> str:
        """The OIDC login initiation URI."""
        return f"{self.base_url}/login"

    @property
    def jwks_url(self) -> str:
        """The tool's key set."""
        return f"{self.base_url}/keys"

    def register_platform(
        self,
        *,
        issuer: str,
        client_id: str,
        authorization_endpoint: str,
        token_endpoint: str,
        jwks_uri: str,
        deployment_id: str = "1",
        name: str = "flowbridge",
    ) -> None:
        """Make a platform known to the tool, as an administrator would by hand. The same pair again changes it."""
        platform = {
            "name": name,
            "issuer": issuer,
            "clientId": client_id,
            "authorizationEndpoint": authorization_endpoint,
            "tokenEndpoint": token_endpoint,
            "jwksUri": jwks_uri,
            "deploymentId": deployment_id,
        }
        answer = self.http.post(f"{self.base_url}/control/platforms", json=platform, timeout=REQUEST_SECONDS)
        answer.raise_for_status()
