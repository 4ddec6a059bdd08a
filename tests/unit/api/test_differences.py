from __future__ import annotations

from swarmproxy.api import differences


def test_the_documents_say_what_the_table_says() -> None:
    readme = (differences.ROOT / "README.md").read_text()
    assert differences.with_block(readme) == readme, "run python -m swarmproxy.api.differences"
    assert (differences.ROOT / "docs" / "differences.md").read_text() == differences.page()
