"""tools/site.py: pages that are written for the repository, as the site shows them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tools import site


def shown(markdown: str, page: str = "how-to/tags.md") -> str:
    """The page as MkDocs gets it."""
    return site.on_page_markdown(markdown, page=SimpleNamespace(file=SimpleNamespace(src_uri=page)))


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("[Limits](../limits.md)", "[Limits](../limits.md)"),
        ("[here](#what-is-kept)", "[here](#what-is-kept)"),
        ("[elsewhere](https://semver.org)", "[elsewhere](https://semver.org)"),
        ("[rules](../limits.md#choosing)", "[rules](../limits.md#choosing)"),
        ("[Changes](../../CHANGELOG.md)", "[Changes](../changes.md)"),
        ("[security](../../SECURITY.md)", "[security](../security.md)"),
        ("[shop](../../examples/shop.py)", "<code>examples/<wbr>shop.py</code>"),
        ("[a test](../../tests/model.py)", "a test (<code>tests/<wbr>model.py</code>)"),
        ("![a picture](../images/dashboard-light.png)", "![a picture](../images/dashboard-light.png)"),
    ],
)
def test_a_link_stays_on_the_site_or_is_a_path(written, wanted):
    """What is a page is linked, and what is not is named."""
    assert shown(f"See {written}.") == f"See {wanted}."


def test_a_page_may_stand_elsewhere():
    """The page of security is the repository's file, with its links as seen from the site."""
    page = shown('--8<-- "SECURITY.md"\n', page="security.md")
    assert page.startswith("# Security\n")
    assert "[identity](concepts/identity.md)" in page


def test_what_the_tests_read_is_not_shown():
    """A block that is compared is an ordinary block on the site, and docstrings announce theirs with one colon."""
    assert shown("```text prints\n1\n```\n") == "```text\n1\n```\n"
    assert site.on_page_content("<p>Example::</p><pre>1</pre><p>::</p>") == "<p>Example:</p><pre>1</pre>"
