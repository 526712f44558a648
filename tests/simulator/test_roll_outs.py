"""Roll-outs, without Kubernetes: as kube-controller-manager 1.20.2 was seen to do them."""

from __future__ import annotations

from collections import Counter

from beside_kubernetes import Act, Course, Kind, World, simulate

WORLD = World((Kind("web", 400, 500),), ((16_000, 32_000, 110),))


def in_time(course: Course, name: str) -> Counter[float]:
    return Counter(getattr(life, name) for life in course.lives if getattr(life, name) < 60)


def test_old_pods_that_are_not_ready_go_no_further_than_enough_would_be_left() -> None:
    """6 are ready, 6 start; with a quarter more or fewer than 12 at most, 3 of those that start may go."""
    acts = [Act(0, "web", 6), Act(4, "web", 12), Act(4.5, "web", milli=300)]
    course = simulate(WORLD, acts, 20)
    assert in_time(course, "created") == {0.0: 6, 4.0: 6, 4.5: 6, 6.5: 6}
    assert in_time(course, "told") == {4.5: 3, 6.5: 6, 8.5: 3}


def test_room_that_old_pods_leave_is_used_at_once() -> None:
    """10 pods: 3 more at once, and 2 in place of the 2 that may go; the other half in the second step."""
    course = simulate(WORLD, [Act(0, "web", 10), Act(3, "web", milli=300)], 20)
    assert in_time(course, "created") == {0.0: 10, 3.0: 5, 5.0: 5}
    assert in_time(course, "told") == {3.0: 2, 5.0: 5, 7.0: 3}
