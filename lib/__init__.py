"""Learned equivariance: SEMoLA and REMUL as one objective, methods as rows of one table.

Letters used throughout: B batch size, N number of items, d dimension of a vector, n size of a group matrix,
C number of generators (the basis cardinality), K augmentations per sample, M group samples of an error estimate.
"""
