"""The target spaces side by side: same data, network, objective and sampler, at equal cost.

`plan` says what is trained on what, `work` trains and generates, `pool` runs that in processes,
`score` judges what was generated, `table`, `picture` and `page` show it, `command` does all of it.
"""
