"""Callbacks that attach a run to the trainers of other libraries; each needs its library only."""
