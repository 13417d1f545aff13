"""Instructed retrieval over analyses and faces: a query, an instruction that says which documents it means, a ranking.

`documents` are what is searched, `wishes` what a query demands in codes and emotions, `words` and `states` two ways to score
(BM25, and a policy's own hidden states), `index` keeps vectors on the disk, `listwise` has a policy order what was found,
`near` finds faces by their labels. `queries` and `bench` measure all of it by four families of queries. After MAIR, arXiv
2410.10127, whose tasks are texts of the web; here they are made from analyses of faces, so that relevance is counted and not
judged. To add a way to score, write a class with `name` and `scores` (`ranking.Scorer`).
"""
