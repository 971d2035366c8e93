"""`config.pbtxt`: decided, then printed.

`configs`      all of a version: its own and its variants'
`derive`       what each field says
`triton`       all of it as one value, for the template
`preferred`    batch sizes by what was measured
`labels`       the files that `label_filename` names
`render`       the text
`passthrough`  what the recipe says in ModelConfig's own language, put into it
`schema`       whether Triton's schema has that
"""
