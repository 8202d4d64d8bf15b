"""Executes what `ssmc program` wrote, from its folder alone: numpy and nothing of ssmc."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Laboratory:
    """One chip with ideal cells."""

    def __init__(self, folder: Path) -> None:
        self.program = json.loads((folder / "program.json").read_text())
        self.numbers, self.cells = (dict(np.load(folder / f"{name}.npz")) for name in ("numbers", "conductances"))
        self.hw = self.program["hardware"]

    def number(self, item: dict[str, Any], key: str) -> Array:
        found = item[key]
        return self.numbers[found["array"]] if isinstance(found, dict) else np.asarray(found)

    def product(self, name: str, drive: Array) -> Array:
        """Column sums (groups, slices, outputs) of drives (groups, inputs), by currents through the cells."""
        bank, hw = self.program["banks"][name], self.hw
        out = np.zeros(bank["shape"][:3])
        for wave in {tile["wave"] for tile in bank["tiles"]}:
            tiles = [tile for tile in bank["tiles"] if tile["wave"] == wave]
            rows = {tile["array"]: np.zeros(hw["rows"]) for tile in tiles}
            for tile in tiles:
                codes = drive[tile["group"], tile["inputs"]]
                split = np.stack([np.maximum(codes, 0), np.maximum(-codes, 0)], 1).ravel()
                used = split if hw["rows_per_input"] == 2 else codes
                rows[tile["array"]][tile["row"] : tile["row"] + len(used)] = used
            for tile in tiles:
                on = rows[tile["array"]]
                current = on @ self.cells[f"{tile['array']:04d}"]
                mine = current[tile["column"] : tile["column"] + tile["columns"]]
                if hw["cells_per_code"] == 2:
                    sums = mine[::2] - mine[1::2]
                elif hw["rows_per_input"] == 2:
                    sums = mine - (hw["g_min_us"] + hw["zero_level"] * hw["level_us"]) * on.sum()
                else:
                    sums = mine - current[-1]
                shape = len(tile["outputs"]), len(bank["gains"])
                out[tile["group"]][:, tile["outputs"]] = np.rint(sums / hw["level_us"]).reshape(shape).T
        return out.astype(np.int64)

    def requant(self, item: dict[str, Any], acc: Array) -> Array:
        """``clip(round_half_even(ratio acc + bias))`` in exact fractions."""
        lo, hi = self.number(item, "lo"), self.number(item, "hi")
        pairs = zip(item["ratio"], item["bias"], acc.ravel().tolist(), strict=True)
        return np.clip([round(Fraction(r) * a + Fraction(b)) for r, b, a in pairs], lo, hi)

    def run(self, x: Array) -> Array:
        """Outputs of one sequence (T, features), where they are of the whole sequence."""
        self.values: dict[str, Array] = {}
        self.registers = {k: self.number(r, "initial").copy() for k, r in self.program["registers"].items()}
        self.sums = {k: np.zeros(a["size"], np.int64) for k, a in self.program["accumulators"].items()}
        self.steps, self.out = len(x), np.zeros(0)
        for features in x:
            for item in self.program["per_step"]:
                self.execute(item, features)
        for item in self.program["per_sequence"]:
            self.execute(item, x[:0])
        return self.out

    def execute(self, item: dict[str, Any], features: Array) -> None:
        getattr(self, f"do_{item['do'].lower()}")(item, features)

    def reads(self, item: dict[str, Any]) -> list[Array]:
        return [self.values[name] for name in item["reads"]]

    def do_sample(self, item: dict[str, Any], features: Array) -> None:
        quant = item["quant"]
        codes = np.rint(features / self.number(quant, "scale"))
        self.values[item["writes"]] = np.clip(codes, quant["lo"], quant["hi"]).astype(np.int64)

    def do_readout(self, item: dict[str, Any], features: Array) -> None:
        codes = np.rint(self.registers[item["register"]] / 2.0 ** self.number(item, "shift"))
        clipped = np.clip(codes, self.number(item, "lo"), self.number(item, "hi"))
        self.values[item["writes"]] = clipped.astype(np.int64).ravel()

    def do_drive(self, item: dict[str, Any], features: Array) -> None:
        bank = self.program["banks"][item["bank"]]
        joined = np.concatenate([x.reshape(bank["shape"][0], -1) for x in self.reads(item)], 1)[
            :, slice(*bank["inputs"])
        ]
        self.driven = joined if item["plane"] is None else (joined >> item["plane"]) & 1

    def do_integrate(self, item: dict[str, Any], features: Array) -> None:
        self.held = self.product(item["bank"], self.driven)

    def do_convert(self, item: dict[str, Any], features: Array) -> None:
        codes = np.rint(self.held[:, item["slice"]] / self.number(item, "step"))
        self.values[item["writes"]] = np.clip(codes, self.number(item, "lo"), self.number(item, "hi")).astype(np.int64)

    def do_convertquantize(self, item: dict[str, Any], features: Array) -> None:
        self.values[item["writes"]] = self.requant(item["requant"], self.held[:, 0])

    def do_accumulate(self, item: dict[str, Any], features: Array) -> None:
        parts = zip(self.number(item, "gains"), self.reads(item), strict=True)
        self.values[item["writes"]] = sum(gain * x for gain, x in parts).ravel()  # type: ignore[union-attr]

    def do_matvec(self, item: dict[str, Any], features: Array) -> None:
        codes = self.number(item, "codes")
        joined = np.concatenate([x.reshape(len(codes), -1) for x in self.reads(item)], 1)
        self.values[item["writes"]] = np.einsum("goi,gi->go", codes.astype(np.int64), joined).ravel()

    def do_requantize(self, item: dict[str, Any], features: Array) -> None:
        self.values[item["writes"]] = self.requant(item["requant"], self.reads(item)[0])

    def do_update(self, item: dict[str, Any], features: Array) -> None:
        old = self.registers[item["register"]]
        q = self.reads(item)[0].reshape(len(old), -1)[:, : old.shape[1]]
        new = self.number(item, "keep") * old + q
        self.registers[item["register"]] = np.clip(new, self.number(item, "lo"), self.number(item, "hi"))

    def do_select(self, item: dict[str, Any], features: Array) -> None:
        x = self.reads(item)[0].reshape(item["groups"], -1)
        self.values[item["writes"]] = x[:, item["start"] : item["stop"]].ravel()

    def do_lookup(self, item: dict[str, Any], features: Array) -> None:
        x, table = self.reads(item)[0], self.number(item, "table")
        self.values[item["writes"]] = table[np.arange(len(x)) % len(table), x - item["lo"]].astype(np.int64)

    def do_multiply(self, item: dict[str, Any], features: Array) -> None:
        a, b = self.reads(item)
        self.values[item["writes"]] = self.requant(item["requant"], a * b)

    def do_add(self, item: dict[str, Any], features: Array) -> None:
        total = (self.number(item, "multiplier") * np.stack(self.reads(item))).sum(0) + self.number(item, "offset")
        codes = np.rint(total / 2.0 ** self.number(item, "shift"))
        self.values[item["writes"]] = np.clip(codes, self.number(item, "lo"), self.number(item, "hi")).astype(np.int64)

    def do_reduce(self, item: dict[str, Any], features: Array) -> None:
        x = self.reads(item)[0]
        self.sums[item["accumulator"]] = x + (self.sums[item["accumulator"]] if item["kind"] == "sum" else 0)

    def do_average(self, item: dict[str, Any], features: Array) -> None:
        pairs = zip(item["ratio"], self.sums[item["accumulator"]].tolist(), strict=True)
        means = [round(Fraction(ratio) * total / self.steps) for ratio, total in pairs]
        self.values[item["writes"]] = np.clip(means, item["lo"], item["hi"])

    def do_recall(self, item: dict[str, Any], features: Array) -> None:
        self.values[item["writes"]] = self.sums[item["accumulator"]]

    def do_emit(self, item: dict[str, Any], features: Array) -> None:
        self.out = self.reads(item)[0] * self.number(item, "scale")
