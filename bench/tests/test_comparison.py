import unittest

from lockstep_bench.comparison import IMAGES, SECONDS, Comparison, Spread


class Ratios(unittest.TestCase):
    def test_a_ratio_is_of_the_same_round_and_above_one_where_we_are_better(self):
        rates = Comparison("", IMAGES, [200.0, 300.0], {"peer": [100.0, 100.0]})
        times = Comparison("", SECONDS, [1.0, 2.0], {"peer": [3.0, 3.0]})
        self.assertEqual(rates.ratios(), [2.0, 3.0])
        self.assertEqual(times.ratios(), [3.0, 1.5])

    def test_the_best_peer_is_the_fastest_of_those_that_ran_all_rounds(self):
        peers = {"lucky": [900.0], "slow": [100.0, 110.0], "fast": [150.0, 90.0]}
        self.assertEqual(Comparison("", IMAGES, [1.0, 1.0], peers).best_peer(), "fast")
        self.assertEqual(Comparison("", SECONDS, [1.0, 1.0], peers).best_peer(), "slow")

    def test_without_peers_there_is_neither_ratio_nor_verdict(self):
        lonely = Comparison("", IMAGES, [1.0], {"peer": []}, goal=1.0)
        self.assertEqual((lonely.best_peer(), lonely.ratios(), lonely.verdict()), (None, [], ""))

    def test_a_goal_is_met_by_the_median_as_it_is_shown(self):
        def verdict(goal, *ours):
            return Comparison("", IMAGES, list(ours), {"peer": [100.0] * len(ours)}, goal).verdict()

        self.assertEqual(verdict(1.5, 149.6, 90.0, 400.0), "met")
        self.assertEqual(verdict(1.5, 149.0, 149.0, 400.0), "below")
        self.assertEqual(verdict(None, 149.0), "")


class Spreads(unittest.TestCase):
    def test_a_spread_shows_the_median_with_least_and_greatest(self):
        self.assertEqual(Spread.of([3.0, 1.0, 2.5]).text(".1f"), "2.5 (1.0 to 3.0)")

    def test_a_single_value_has_no_spread(self):
        self.assertEqual(Spread.of([3.0]).text(".1f"), "3.0")


if __name__ == "__main__":
    unittest.main()
