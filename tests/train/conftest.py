"""Small stores, and the command line of `train` in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from shared.store import Store
from tests.train.stores import make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """3 subjects x 4 labels, predicted from the first frame, two slots not valid. Not to change."""
    return make_store(tmp_path_factory.mktemp("stores") / "first")


def call_train(*arguments: object) -> int:
    """Run the command line of `train` in this process; returns its exit code."""
    from train.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call the command line of `train`: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = call_train(*arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
