#!/usr/bin/env python3
"""Prints the numbers that gpu-worker/src/rng/philox.rs is tested with. Whole numbers of Python and nothing else: written
from Salmon et al. (2011), checked against Random123's known answers, then the normal numbers as A1111's `NV` setting
defines them: counter (call, 0, place, 0), the seed as key, the sine half of Box and Muller."""
import math

WORD = 0xFFFFFFFF


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(high >> 32) ^ c[1] ^ k[0], high & WORD, (low >> 32) ^ c[3] ^ k[1], low & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


def randn(seed, call, count):
    values = []
    for place in range(count):
        size, turn, _, _ = philox([call, 0, place, 0], [seed & WORD, seed >> 32])
        radius = math.sqrt(-2 * math.log((size + 0.5) / 2 ** 32))
        values.append(radius * math.sin(2 * math.pi * (turn + 0.5) / 2 ** 32))
    return values


KNOWN = [([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
         ([WORD] * 4, [WORD] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
         ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0], "d16cfe09 94fdcceb 5001e420 24126ea1")]
for counter, key, words in KNOWN:
    assert " ".join(f"{word:08x}" for word in philox(counter, key)) == words
for seed, call, count in [(0, 0, 6), (1, 0, 4), (2 ** 53 - 1, 3, 4)]:
    print(f"seed {seed}, call {call}:", " ".join(f"{value:.9g}" for value in randn(seed, call, count)))
