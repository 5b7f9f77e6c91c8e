"""Training of models: the only folder, with the torch engine, that imports torch.

The live plane never imports it: only a model package on disk passes between them.
"""
