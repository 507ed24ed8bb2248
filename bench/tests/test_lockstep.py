import json
import tempfile
import unittest
from pathlib import Path

from lockstep_bench.lockstep import Log, Step, data_wait_share, measured_rate, rate, step_of, two_block, waited_share
from lockstep_bench.work import TWO_BLOCK

LINE = {
    "timestamp": "2026-01-02T03:04:05.250000Z",
    "level": "DEBUG",
    "fields": {
        "step": 7,
        "loss": 2.3,
        "micro_batches": 5,
        "computed_seconds": 0.25,
        "waited_seconds": 0.5,
        "data_wait_seconds": 0.75,
    },
    "target": "lockstep::step",
}


class Logs(unittest.TestCase):
    def test_a_line_of_a_step_gives_its_number_time_and_waits(self):
        step = step_of(json.dumps(LINE))
        self.assertEqual((step.number, step.waited, step.data_wait), (7, 0.5, 0.75))
        self.assertEqual((step.micro_batches, step.computed), (5, 0.25))
        self.assertEqual(step.at % 60, 5.25)

    def test_other_lines_are_no_steps(self):
        self.assertIsNone(step_of(json.dumps(dict(LINE, target="lockstep::executor"))))
        self.assertIsNone(step_of("panicked at"))

    def test_half_a_line_waits_for_its_other_half(self):
        text = json.dumps(LINE) + "\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "executor-0.log")
            log = Log(path)
            path.write_text(text + text[:20])
            log.read()
            self.assertEqual(len(log.steps), 1)
            path.write_text(text + text)
            log.read()
            self.assertEqual(len(log.steps), 2)


    def test_a_committed_checkpoint_tells_how_long_it_took(self):
        fields = {"message": "committed", "checkpoint": "step-00000010", "seconds": 0.25}
        line = dict(LINE, fields=fields, target="lockstep::executor")
        with tempfile.TemporaryDirectory() as folder:
            log = Log(Path(folder, "executor-0.log"))
            log.path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
            log.read()
        self.assertEqual(log.commits, [0.25])


class Figures(unittest.TestCase):
    STEPS = [Step(10, 100.0, 2, 0.5, 9.0, 0.7), Step(12, 101.0, 3, 0.5, 0.1, 0.7), Step(14, 102.0, 1, 0.5, 0.3, 1.2)]

    def test_a_rate_counts_the_images_between_the_first_and_the_last_step(self):
        self.assertEqual(rate(self.STEPS, 16), 4 * 16 / 2.0)

    def test_a_measured_rate_is_of_the_time_in_which_was_computed(self):
        self.assertEqual(measured_rate(self.STEPS, 16), 6 * 16 / 1.5)

    def test_the_wait_of_the_first_step_lies_before_the_measured_time(self):
        self.assertAlmostEqual(waited_share(self.STEPS), 0.2)

    def test_the_wait_for_data_adds_up(self):
        self.assertAlmostEqual(data_wait_share(self.STEPS), 0.25)


class Models(unittest.TestCase):
    def test_the_presets_layers_have_the_filters_of_the_counted_network(self):
        filters = [layer["conv2D"]["filters"] for layer in two_block(1.0) if layer["type"] == "Conv2D"]
        self.assertEqual(filters, [one.outputs for one in TWO_BLOCK.convolutions])

    def test_parameters_are_those_of_the_layers(self):
        kernels = sum(9 * one.inputs * one.outputs + one.outputs for one in TWO_BLOCK.convolutions)
        scales = sum(2 * one.outputs for one in TWO_BLOCK.convolutions)
        dense = sum(inputs * outputs + outputs for inputs, outputs in TWO_BLOCK.dense)
        self.assertEqual(TWO_BLOCK.parameters, kernels + scales + dense)


if __name__ == "__main__":
    unittest.main()
