"""Real tritonserver on this machine, from a wheel: no Docker, no GPU.

`provision`    installs the server and the Python of its models; `interpreter` chooses that
`triton`       one server: start, wait until live, crash, stop; `diagnosis` reads its log
`process`      any command in a process group of its own, leaving nothing behind
`supervisor`   keeps servers and other processes alive
`ports`        free ports
`backends/`    ONNX Runtime in Triton's Python backend, in the place of NVIDIA's C++ one
`errors`       what can go wrong
"""
