"""The documentation site: `make docs` writes it to `.pilotlight/docs`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Pilotlight"
copyright = "the Pilotlight authors"
release = version = version_of("pilotlight")

extensions = ["myst_parser", "sphinx_design", "generated", "not_run"]
exclude_patterns = ["_ext"]

# The runbooks' alerts and the headings of generated pages are linked to by their names.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
nitpicky = True
# Options begin with two hyphens, and quotes are for programs.
smartquotes = False

html_theme = "furo"
html_title = "Pilotlight"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sphinx = False
