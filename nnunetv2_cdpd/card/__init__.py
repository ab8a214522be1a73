"""The card of a model: what it was made from, what it may be used for, how well it does and what nobody knows of it.

- folder: what a model folder says of itself
- text: texts of others, made plain, and escaped for Markdown
- scores: what its cross-validation measured
- weights: the encoders' weights and the packages that trained it
- words: the user's own
- prose: intended use, limits and gaps, from the facts
- content: all of it as JSON; shape: the form of that JSON
- markdown, components: what is made of the JSON: a page, and CycloneDX's list of components
- files: where these lie, in a model folder and in nnU-Net's export
- check: whether a card still fits its folder
"""
