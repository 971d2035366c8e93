"""Which of a model's requests are kept."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from contract.bytes import format_bytes
from pilotlight.views import Body
from pilotlight.views.traffic import counts


def recording_view(body: Body) -> RenderableType:
    return Text("\n").join(Text(line) for line in _lines(body))


def _lines(body: Body) -> Iterator[str]:
    said = body["said"]
    if said["percent"]:
        yield (
            f"the gateway copies {said['percent']} % of the requests of {body['model']}; now "
            f"{body['copied']} %"
        )
    else:
        yield f"the gateway copies no requests of {body['model']}"
    yield f"{body['requests']} kept, {format_bytes(body['bytes'])}; at most {said['most']}"
    if said["redact"]:
        yield f"without the values of {', '.join(said['redact'])}"
    if body["dropped"]:
        reason = f"; {body['reason']}" if body["reason"] else ""
        yield f"not kept: {counts(sum(body['dropped'].values()), body['dropped'])}{reason}"
