"""`not-run`: commands that the documentation's tests cannot run, marked as such for the reader."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class NotRun(SphinxDirective):
    """The argument says what our tests lack: `a GPU`."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        block = nodes.literal_block(text, text, language="console")
        caption = nodes.caption("", f"Not run by our tests, which lack {self.arguments[0]}")
        return [nodes.container("", caption, block, literal_block=True, classes=["not-run"])]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("not-run", NotRun)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
