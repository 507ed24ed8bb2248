"""The rows of the report: one file each, with a function `measure(context)` that gives a Section."""
