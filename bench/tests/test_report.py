import json
import unittest

from lockstep_bench import report
from lockstep_bench.comparison import IMAGES
from lockstep_bench.section import Section, Table

MACHINE = {
    "cpu": "A CPU",
    "cpus": 2,
    "instructionSets": ["avx2"],
    "kernel": "Linux 6",
    "memoryBytes": 2**34,
    "loadBefore": 0.0,
}


def section():
    one = Section("Speed", "How it was measured.")
    peers = {"fast": [100.0, 100.0], "slow": [50.0]}
    one.compare("train step", IMAGES, [150.0, 170.0], peers, goal=1.5, notes=["a note"])
    one.compare("no goal", IMAGES, [10.0], {"fast": [20.0]})
    one.compare("nobody", IMAGES, [10.0], {})
    one.tables.append(Table(["x", "y"], [["1", "a|b"]]))
    return one


class Reports(unittest.TestCase):
    def setUp(self):
        self.text = report.markdown(MACHINE, {"Lockstep": "0.1.0"}, [section()], {"rounds": 2})

    def test_a_goal_stands_beside_its_ratio_and_verdict(self):
        line = "| train step | 160 images/s | 100 images/s | fast | **1.60 (1.50 to 1.70)** | 1.5 | met |"
        self.assertIn(line, self.text.splitlines())

    def test_what_has_no_goal_is_only_in_its_section(self):
        goals, _, sections = self.text.partition("## Failed")
        self.assertNotIn("no goal", goals)
        self.assertIn("**no goal**", sections)

    def test_a_comparison_without_values_is_a_failure_with_its_reason(self):
        self.assertIn("- Speed, nobody: nothing to compare: every peer failed", self.text)

    def test_a_peer_that_was_left_out_says_so(self):
        self.assertIn("| - slow | 50 images/s | one round: clearly slower |  |  |", self.text)

    def test_every_line_of_a_table_has_a_cell_for_every_header(self):
        for block in self.text.split("\n\n"):
            lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
            self.assertLessEqual(len({line.count("|") for line in lines}), 1, block)

    def test_the_json_has_ratios_samples_and_failures(self):
        whole = report.as_json(MACHINE, {}, [section()], {})
        (one,) = json.loads(json.dumps(whole))["sections"]
        self.assertEqual(one["comparisons"][0]["ratios"], [1.5, 1.7])
        self.assertEqual(one["comparisons"][0]["verdict"], "met")
        self.assertIn("nobody", one["failures"])


if __name__ == "__main__":
    unittest.main()
