"""Ensembles: published models, chained; built after all models of a recipe.

`wiring`  do the steps fit together, and what does a client see
`config`  config.pbtxt of an ensemble
`chain`   golden samples: the models run one after the other, in a worker
`models`  the versions that it is made of, and whether these are new
`build`   one ensemble, from the models' manifests to a folder that is ready to be published
"""
