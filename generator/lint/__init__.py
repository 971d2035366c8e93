"""What Triton would refuse, or take and die of.

`check`       all rules over a repository
`rules/`      one function each, pure
`repository`  what they look at; `read` takes it from disk, `graphs` from ONNX files
`backends`    which one a model is for, and what that opens
`lines`       where in a `config.pbtxt` a field stands
`finding`     what a rule is, and what it finds
`fix`         repairs that cannot lose anything
`formats`     SARIF, and GitHub's annotations
`config`      the rules about one config, for the pipeline
"""
