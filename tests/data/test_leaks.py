"""Images that look alike: who is joined, by hashes alone."""

from __future__ import annotations

import itertools

import numpy as np

from fea.data.leaks import BITS, tied


def test_people_whose_images_look_alike_are_joined_in_any_order() -> None:
    chance = np.random.default_rng(0)
    hashes = chance.random((700, BITS)) < 0.5
    for number in range(100, 700, 3):  # chains across blocks: each differs a little from one that stands 100 before it
        hashes[number] = hashes[number - 100] ^ (chance.permutation(BITS) < chance.integers(0, 9))
    hashes[1:100:10] = hashes[0:100:10]  # of one person
    people = np.arange(700) // 2
    groups, pairs = tied(hashes, people, distance=5)
    expected = people.copy()
    alike = [(i, j) for i, j in itertools.combinations(range(700), 2) if (hashes[i] != hashes[j]).sum() <= 5]
    for i, j in alike * 8:
        expected[expected == expected[j]] = expected[i]
    assert len(set(expected)) < 300
    assert (np.equal.outer(groups, groups) == np.equal.outer(expected, expected)).all()
    assert set(groups) == set(range(len(set(expected))))
    across = [(i, j) for i, j in alike if people[i] != people[j]]
    first = dict(reversed(across))
    assert [(pair.first, pair.second) for pair in pairs] == sorted(first.items())
    assert all(pair.bits == (hashes[pair.first] != hashes[pair.second]).sum() for pair in pairs)


def test_distance_0_joins_equal_hashes_alone() -> None:
    hashes = np.zeros((3, BITS), dtype=bool)
    hashes[2, 0] = True
    assert tied(hashes, np.arange(3), distance=0)[0].tolist() == [0, 0, 1]
    assert tied(hashes, np.arange(3), distance=1)[0].tolist() == [0, 0, 0]
