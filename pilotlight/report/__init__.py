"""The report of one release for a person who decides: one HTML file that stands alone.

Its libraries come with the extra `pilotlight[charts]`.
"""
