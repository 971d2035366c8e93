"""A first recipe from what there is: `pilotlight init`.

`begin`       the way in
`found`       what a look at it gave
`module`      a look at a Python module, in a worker: it is imported
`repository`  a look at a Triton repository, its configs and ONNX files, or at one such file
`entry`       one model of it, in the words of a recipe
`graph`       the tensors of ONNX files, in a worker
`text`        what was found as `models.yaml`; what nobody can know is a line to fill in
"""
