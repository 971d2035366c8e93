"""What all bodies have in common."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A JSON object of the REST API. What a newer sidecar says besides is in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Tagged(Body):
    """One that can be changed, if nobody else has changed it since it was read."""

    _etag: str | None = None

    @property
    def etag(self) -> str | None:
        """Of the state in which it was read; None before it was ever changed."""
        return self._etag

    def tag(self, etag: str | None) -> None:
        self._etag = etag


class Page(Body):
    """A part of a list; the token is None on the last one."""

    next_page_token: str | None
