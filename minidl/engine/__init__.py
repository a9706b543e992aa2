"""The engine: arrays that remember how they were made, and the walk back.

Read it in this order: intercept to `no_grad` (the tables and modes that all share), tensor,
gradients, ops, shapes, reductions; then making, changes, the rest of intercept, devices, random
and checks.

Explained in course/07 and course/08.
"""
