"""What only CuPy needs: streams and pinned memory, CUDA graphs, NCCL.

The tests have run on one card (docs/gpu.md); NCCL, between several, is experimental: it has not.
Explained in course/22.
"""
