"""Families of models, one a file.

A base of any other family needs no file here: `general.py` is the record of what can be read off it. There are two roads for
it. Where images are read at the image tokens alone and the language model is causal, it is asked part by part
(`fea.model.causal`) and completions share their prompt; such a family is named in `fea.model.outline`, once the tests of
`tests/model/test_causal.py` hold for it. All others go the general road (`fea.model.stock`), which is slow: there nobody knows
what completions could share. What a family gains by a file of its own are adapters on its tower, sharded weights, images of a
size that is asked for, and GGUF files.

To add one:

1. Write its record: a new file beside `qwen3_vl.py`, with one `Family` in it. `family.py` says what each field means. The file
   is read by settings too, so it imports torch inside functions only. What a family does not share with the others is a
   function in that file, such as its positions; everything else is a name, a number or a dotted path. What several have in
   common lies in a file of its own (`qwen.py`).
2. Take the dimensions in `published` from the `config.json` of each model, and the license from its model card.
3. Write `tiny`: the dimensions of a network for a laptop. The tests build their models of the family from it.
4. Enter the record in `FAMILIES` of `known.py`, and the new file in the order of `tests/house/test_layers.py`.
5. Pin the number of parameters of each published model in `tests/model/test_families.py` and run that file and
   `tests/memory/test_plan.py`. They ask of every family: positions as its own network makes them, all layouts equal to its own
   forward pass over plain rows in values and gradients, greedy answers equal to its own `generate`, samples as probable as
   training says, no image token ever sampled, adapters on the language model alone, 4 bits everywhere but in what is kept
   whole, a resumed run equal to one that was never stopped, a memory plan that holds, and published sizes that add up.

A family whose network takes its features or its masks in another way than `fea.model.network.Network` hands them over needs
a field for that difference, so that `Network` stays the one place which knows both sides.
"""
