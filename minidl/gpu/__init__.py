"""What only CuPy needs: streams and pinned memory, CUDA graphs, NCCL.

Experimental: tested on a stand-in device, not yet on a card.  Explained in course/22.
"""
