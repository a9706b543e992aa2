"""What is asked of plain arguments."""

import numpy as np
import pytest

from minidl.engine.checks import check_whole


def test_whole_numbers_pass():
    check_whole("fit", epochs=1, seed=np.int64(7))
    check_whole("EarlyStopping", 0, patience=0)


@pytest.mark.parametrize("wrong", [0, -1, 1.0, 1.5, True, "2", None, np.float32(2)])
def test_what_is_none_is_named(wrong):
    with pytest.raises(ValueError, match=r"^fit: epochs must be a whole number from 1, got"):
        check_whole("fit", epochs=wrong)
