"""PyTorch models in, a Triton model repository out.

`build`          the entry: a recipe into a store, several models at once
`events`         what a build reports: stages, outcomes
`recipe`         `models.yaml`, checked
`fingerprint`    what a version was built from; unchanged models are done in milliseconds
`pipeline`       one model: export, verify, probe, config, manifest
`worker`         a stage in a process of its own; those stages are
    `exporters/`   PyTorch to ONNX, with PyTorch's own answers and their tolerances
    `verify`       ONNX Runtime's answers against PyTorch's
    `probe`        seconds, bytes and milliseconds of the result
`shapes` `tensors` `warmup` `golden`   which shapes and values to verify, warm and ship
`measurements`   numbers out of noisy timings
`triton_config` `render` `lint`        config.pbtxt: decided, printed, checked
`publish`        the only writer of the store

The parent process never imports PyTorch or ONNX; `exporters`, `sessions`, `verify` and
`probe` are for workers only.
"""
