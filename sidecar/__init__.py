"""The control plane beside Triton: it decides what each server holds and proves it.

    compose    the one place where adapters are constructed
    api        REST: desired state and requests in, what is the case out
    activator  holds requests for models that are not loaded; the gateway sends them here
    runtime    asyncio shell: observe -> plan -> execute -> record, in a loop
    adapters   Triton over gRPC, Envoy's files, the stage folders, the model store, SQLite
    settings   one YAML file, parsed once
    ports      what the runtime needs from the world
    core       pure: what is wanted, what to do next, when a release moves on
    errors     the tree

A layer sees only the layers below it; `runtime` and `adapters` do not see each other.
Never imports torch or the generator.
"""
