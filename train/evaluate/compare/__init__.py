"""Compare systems: the same clips, objective and sampler, at equal cost.

`systems` is the table of systems and plans the runs, `jobs` trains them and generates clips, in
`processes` of their own, `results` scores those and averages over seeds, `page` shows it, `compare`
is the command.
"""
