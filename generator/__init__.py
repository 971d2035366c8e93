"""PyTorch models in, a Triton model repository out.

`build`        the entry: a recipe into a store, several models at once
`events`       what a build reports: stages, outcomes
`recipe/`      `models.yaml`, checked
`fingerprint`  what a version was built from; unchanged models are done in milliseconds
`hashes`       of files, remembered in the user's `cache`
`capacity`     how many exports at once the machine can hold; `scratch` is where they lie
`pipeline`     one model: export, verify, probe, config, manifest
`plans`        TensorRT plans: can they be built here, and building them
`proving`      a version in the ONNX Runtime of the release that will serve it
`releases`     what each release of Triton can read
`accelerators` what a GPU changes: in the config, in how exact answers are
`worker`       a stage in a process of its own; `reports/` is what stages tell each other
`forks`        such processes with PyTorch imported before, from the `fork_server`
`exporters/`   PyTorch to ONNX, with PyTorch's own answers and their tolerances
`checks/`      the result: does it answer as PyTorch does, and what does it cost
`samples/`     which shapes and values to verify, warm and ship
`config/`      config.pbtxt: decided, printed
`lint/`        what Triton would refuse
`ensembles/`   published models, chained into one
`scaffold/`    a first recipe from what somebody has
`publishing/`  the only writer of the store
`reproducible` does a second build elsewhere give the same bytes
`watched`      the files whose change calls for a build

The parent process never imports PyTorch or ONNX; `exporters/` and `checks/` are for workers only,
but for `checks.measurements`, and so are `ensembles.chain`, `scaffold.module`, `scaffold.graph`.
"""
