"""Where Envoy sends requests for models that are not loaded: they wait here, and go back to it.

A request is held until its model is loaded and then answered with "again": Envoy sends its own
copy to Triton. No tensor passes through here; bodies are thrown away as they arrive.
"""
