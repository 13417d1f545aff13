"""What has to be tried on the first day with a card, in the order in which it matters. Nothing is downloaded.

    pytest -m gpu                             all of it, on a card; one table at the end, for tests/benchmarks/RESULTS.md
    pytest -m gpu tests/gpu/test_decode.py    one part; each takes less than ten minutes
    FEA_GPU_REHEARSAL=1 pytest -m gpu         a rehearsal in little, on a card or on a CPU: figures mean nothing then

    FEA_TOKENIZER=FOLDER                      the tokenizer of the published model; else a tiny one, and prompts are longer

Without a card all is skipped. Models have the dimensions of published ones and random weights, made where they are needed (up
to 15 GB of disk at a time, with the 7B model 24 GB; removed at the end). Such a model hardly ever ends, so all completions are
as long as they may be: the worst case. Not run on a GPU yet.

    test_versions     what is installed, and a layer in 4 bits                             1 minute
    test_kernels      which kernels take the shapes of attention; products in fp32         2
    test_decode       writing tokens, one by one and recorded                              5
    test_grpo_step    three steps of configs/grpo.yaml: memory, seconds, sampling          5
    test_sft_step     three steps of configs/sft.yaml                                      4
    test_gap          samples come from the policy that is trained                         6
    test_vision       the vision tower                                                     2
    test_repeat       the same run twice, and with trainer.deterministic                   6
    test_resume       killed and resumed                                                   6
    test_refused      precisions that break                                                1
    test_seven        the 7B model, where it has room                                      9
"""
