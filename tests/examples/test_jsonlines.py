"""The example keeps the contract of recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drtests.errors import DatabaseDamaged
from drtests.hosts.local import LocalHost
from drtests.model.estate import Host as Declaration
from drtests.testing.recipe_contract import RecipeContract, Restored
from tests.examples.jsonlines import JsonLines


class TestJsonLines(RecipeContract):
    recipe = JsonLines
    server = False  # nothing runs for it

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls) -> LocalHost:
        return LocalHost(Declaration(id="local"))

    @pytest.fixture(scope="class")
    @classmethod
    def workplace(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("work"))

    @pytest.fixture(scope="class")
    @classmethod
    def restored(cls, tmp_path_factory: pytest.TempPathFactory) -> Restored:
        tree = tmp_path_factory.mktemp("restored")
        lines = [{"pupil": f"it's {number}"} for number in range(100)] + [{"lines": 100}]
        (tree / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return Restored(
            tree=tree,
            options={"path": "log.jsonl"},
            paths=["path"],
            question="SELECT data ->> 'pupil' FROM line WHERE number = 3",
            answer=[["it's 2"]],
            write="DELETE FROM line",
            client=(),
        )

    def test_a_line_that_is_gone(self, host: LocalHost, restored: Restored, workplace: str) -> None:
        """The check that no other recipe has to make: nothing else would tell that a line is missing."""
        place, _ = self.place(host, restored, workplace, "gone")
        file = Path(place.root, "log.jsonl")
        file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
        with pytest.raises(DatabaseDamaged, match="holds 99 lines, and says that there are 100"):
            self.bring_up(place, restored)
