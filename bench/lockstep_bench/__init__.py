"""Lockstep and what users would pick instead, side by side in one run. `python3 -m lockstep_bench --help`.

`contest` runs programs in turns, `comparison` judges what they gave, `rows` says which programs, `lockstep` and `peers`
start them, `report` writes it down. Plain Python 3, no packages.
"""
