import contextlib
import io
import unittest

from lockstep_bench.contest import Contestant, Sample, hold
from lockstep_bench.processes import Failed


def contest(contestants, rounds):
    with contextlib.redirect_stderr(io.StringIO()):
        return hold("test", contestants, rounds)


class Contests(unittest.TestCase):
    def setUp(self):
        self.order = []

    def contestant(self, name, value=1.0, group=None, fails_at=None):
        def measure():
            self.order.append(name)
            if self.order.count(name) == fails_at:
                raise Failed("no luck")
            return Sample(value, {"seen": 2 * value})

        return Contestant(name, measure, group)

    def test_contestants_take_turns(self):
        contest([self.contestant("a"), self.contestant("b")], 3)
        self.assertEqual(self.order, list("ababab"))

    def test_one_that_fails_takes_no_further_part_and_the_others_go_on(self):
        outcome = contest([self.contestant("a", fails_at=2), self.contestant("b")], 3)
        self.assertEqual(self.order, list("ababb"))
        self.assertEqual(outcome.failures, {"a": "no luck"})
        self.assertEqual(outcome.values("b"), [1.0, 1.0, 1.0])

    def test_only_what_may_be_the_best_of_its_group_goes_on_after_the_first_round(self):
        contestants = [
            self.contestant("ours", 1.0),
            self.contestant("best", 100.0, "peer"),
            self.contestant("close", 95.0, "peer"),
            self.contestant("slow", 80.0, "peer"),
        ]
        outcome = contest(contestants, 2)
        counts = {name: len(outcome.values(name)) for name in ("ours", "best", "close", "slow")}
        self.assertEqual(counts, {"ours": 2, "best": 2, "close": 2, "slow": 1})

    def test_details_are_kept_with_their_median(self):
        outcome = contest([self.contestant("a", 3.0)], 3)
        self.assertEqual(outcome.detail("a", "seen"), 6.0)
        self.assertIsNone(outcome.detail("a", "unknown"))


if __name__ == "__main__":
    unittest.main()
