"""The static graph: a run that is traced, simplified, and written out as NumPy source.

Its one public name is `minidl.compile`.  Explained in course/20.
"""
