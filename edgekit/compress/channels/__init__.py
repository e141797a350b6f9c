"""Structured pruning: channels that are taken out of every tensor which has them, so that shapes shrink.

One dependency graph serves both frameworks: what PyTorch exports of a model, or of a Keras model on the torch backend
(``compress.graph``). ``labels`` says which indices of which tensors belong together, ``rules`` what an operator makes
of its arguments' axes, ``walk`` follows a graph, ``choice`` takes the channels that weigh least, ``surgery`` cuts.

torch-pruning (Fang et al., *DepGraph: Towards Any Structural Pruning*, CVPR 2023) is alive and well kept, and is not
used here. It knows modules of PyTorch alone, so that Keras would need a graph of our own all the same, and two graphs
would choose different channels of one model. It failed on LSTM and Mamba with an ``IndexError``, where a refusal has to
name a layer. And it cuts a module in place, while here a file of weights has to make any fresh build of the source as
narrow as it is (``frameworks.widths``).
"""
