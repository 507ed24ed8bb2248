"""Tests of what needs no program; scripts/lint.sh runs them."""
