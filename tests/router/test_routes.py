"""Which handler a method and a path mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.router.routes import Routes, clean_path

PATTERNS = [
    ("GET", "/plain"),
    ("POST", "/plain"),
    ("GET", "/users/{id}"),
    ("GET", "/users/me"),
    ("GET", "/users/{id}/posts/{post}"),
    ("PUT", "/things/{id}"),
    ("GET", "/Mixed/Case"),
    ("GET", "/slash/"),
    ("POST", "/only-post"),
    ("GET", "/camel/{userId}"),
    ("GET", "/files/{name}.json"),
    ("GET", "/rest/*"),
]


def table(*patterns: tuple[str, str], with_prefixes: bool = False) -> Routes[str]:
    routes: Routes[str] = Routes(with_prefixes)
    for method, pattern in patterns or PATTERNS:
        routes.add(method, pattern, pattern)
    return routes


@pytest.mark.parametrize(
    ("method", "path", "pattern", "params"),
    [
        ("GET", "/plain", "/plain", {}),
        ("GET", "/users/42", "/users/{id}", {"Id": "42"}),
        ("GET", "/users/me", "/users/me", {}),
        ("GET", "/users/m", "/users/{id}", {"Id": "m"}),
        ("GET", "/users/me2", "/users/{id}", {"Id": "me2"}),
        ("GET", "/users/me/posts/3", "/users/{id}/posts/{post}", {"Id": "me", "Post": "3"}),
        ("GET", "/users//posts/1", "/users/{id}/posts/{post}", {"Id": "", "Post": "1"}),
        ("GET", "/camel/x", "/camel/{userId}", {"UserId": "x"}),
        ("GET", "/slash/", "/slash/", {}),
        ("GET", "/files/anything", "/files/{name}.json", {"Name.json": "anything"}),
        ("GET", "/rest/", "/rest/*", {}),
        ("GET", "/rest/a/b", "/rest/*", {}),
    ],
)
def test_path_leads_to_its_pattern(
    method: str, path: str, pattern: str, params: dict[str, str]
) -> None:
    assert table().find(method, path) == (pattern, params)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("GET", "/users/"),
        ("GET", "/users"),
        ("GET", "/users/a/b"),
        ("GET", "/plain/"),
        ("GET", "/slash"),
        ("GET", "/rest"),
        ("GET", "/PLAIN"),
        ("get", "/plain"),
        ("DELETE", "/plain"),
        ("GET", "/"),
        ("GET", ""),
        ("GET", "plain"),
        ("OPTIONS", "*"),
    ],
)
def test_any_other_path_leads_nowhere(method: str, path: str) -> None:
    assert table().find(method, path) is None


def test_a_static_segment_that_leads_nowhere_gives_way_to_a_placeholder() -> None:
    routes = table(("GET", "/a/b/c"), ("GET", "/a/{x}/d"), ("GET", "/{w}/b/e"))
    assert routes.find("GET", "/a/b/d") == ("/a/{x}/d", {"X": "b"})
    assert routes.find("GET", "/a/b/e") == ("/{w}/b/e", {"W": "a"})


def test_a_static_segment_of_another_method_gives_way_too() -> None:
    routes = table(("POST", "/a/b"), ("GET", "/a/{x}"))
    assert routes.find("GET", "/a/b") == ("/a/{x}", {"X": "b"})


def test_text_before_a_placeholder_counts_only_where_rest_is_disabled() -> None:
    patterns = (("GET", "/v{major}/x"), ("GET", "/very{much}/x"), ("GET", "/{any}/x"))
    routes = table(*patterns, with_prefixes=True)
    assert routes.find("GET", "/v2/x") == ("/v{major}/x", {"Major": "2"})
    assert routes.find("GET", "/very2/x") == ("/very{much}/x", {"Much": "2"})
    assert routes.find("GET", "/2/x") == ("/{any}/x", {"Any": "2"})
    assert table(*patterns).find("GET", "/v2/x") == ("/{any}/x", {"Any": "v2"})


@pytest.mark.parametrize("pattern", ["/x/{a.b}", "/x/{rest*}", "/x/{}", "/x/v{id}", "/x/{id"])
def test_braces_that_are_no_placeholder_are_text(pattern: str) -> None:
    routes = table(("GET", pattern))
    assert routes.find("GET", pattern) == (pattern, {})
    assert routes.find("GET", "/x/anything") is None


def test_a_colon_begins_a_placeholder_wherever_it_is() -> None:
    routes = table(("GET", "/x/:id"), ("GET", "/y/{rest:.+}"))
    assert routes.find("GET", "/x/1") == ("/x/:id", {"Id": "1"})
    assert routes.find("GET", "/y/1") is None
    assert routes.find("GET", "/y/{rest1") == ("/y/{rest:.+}", {".+}": "1"})


def test_a_dot_is_part_of_a_name_where_rest_is_disabled() -> None:
    routes = table(("GET", "/x/{a.b}"), with_prefixes=True)
    assert routes.find("GET", "/x/1") == ("/x/{a.b}", {"A.b": "1"})


def test_each_method_calls_a_parameter_as_it_likes() -> None:
    routes = table(("GET", "/t/{owner}"), ("DELETE", "/t/{id}"), ("PUT", "/t/{thing}/parts"))
    assert routes.find("GET", "/t/1") == ("/t/{owner}", {"Owner": "1"})
    assert routes.find("DELETE", "/t/1") == ("/t/{id}", {"Id": "1"})
    assert routes.find("PUT", "/t/1/parts") == ("/t/{thing}/parts", {"Thing": "1"})


def test_methods_of_a_path_stand_in_the_order_in_which_they_were_added_first() -> None:
    assert table().methods("/plain") == ["GET", "POST"]
    routes = table(("POST", "/a"), ("DELETE", "/b"), ("GET", "/b"), ("POST", "/b"))
    assert routes.methods("/b") == ["POST", "DELETE", "GET"]
    assert table().methods("/things/1") == ["PUT"]
    assert table().methods("/nope") == []


def test_another_slash_at_the_end_finds_the_path_that_exists() -> None:
    assert table().with_other_slash("GET", "/plain/") == "/plain"
    assert table().with_other_slash("GET", "/slash") == "/slash/"
    assert table().with_other_slash("GET", "/users/42/") == "/users/42"
    assert table().with_other_slash("PUT", "/plain/") is None
    assert table(("GET", "/")).with_other_slash("GET", "*") is None


def test_another_slash_never_makes_another_host_of_a_path() -> None:
    assert table(("GET", "/{a}/{b}")).with_other_slash("GET", "//evil.test/") is None


@pytest.mark.parametrize(
    ("path", "fixed"),
    [
        ("/mixed/case", "/Mixed/Case"),
        ("/USERS/AbC", "/users/AbC"),
        ("/users//42", "/users/42"),
        ("/./plain", "/plain"),
        ("/x/../plain", "/plain"),
        ("/PLAIN/", "/plain"),
        ("/SLASH", "/slash/"),
        ("/REST/Any/Thing", "/rest/Any/Thing"),
        ("/nope", None),
    ],
)
def test_fixed_path_is_the_one_that_exists(path: str, fixed: str | None) -> None:
    assert table().with_fixed_path("GET", path, any_slash=True) == fixed


def test_fixed_path_leaves_the_slash_alone_where_it_must() -> None:
    assert table().with_fixed_path("GET", "/PLAIN/", any_slash=False) is None


@given(st.lists(st.sampled_from(["", ".", "..", "a", "b"]), max_size=6).map("/".join))
def test_clean_path_has_nothing_left_to_clean(path: str) -> None:
    cleaned = clean_path(path)
    assert cleaned.startswith("/")
    assert "//" not in cleaned
    assert not {".", ".."} & set(cleaned.split("/"))
    assert clean_path(cleaned) == cleaned
