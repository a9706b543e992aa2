"""The engine: arrays that remember how they were made, and the walk back.

Read it in this order: tensor, gradients, ops, shapes, reductions; then intercept, devices, random.

Explained in course/07 and course/08.
"""
