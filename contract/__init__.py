"""What the generator writes and the sidecar reads: the only code that both sides share.

`dtypes`    Triton's datatypes and their numpy counterparts
`layout`    where things lie in a store
`manifest`  what the generator measured about one version
`files`     reading files, and having them survive a power failure
`intent`    what the operator wants of a model
`samples`   golden samples and warm-up data, as files
`warmup`    warm-up samples as requests
`compare`   when two outputs count as equal
`strict`    files that people write
`config`    `config.pbtxt` as a message
"""
