import unittest

from copy_report import BEGIN, END, with_report

PAGE = f"# Page\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n"


class Pages(unittest.TestCase):
    def test_only_what_is_between_the_marks_changes(self):
        page = with_report(PAGE, "# Title\n\nfacts\n\n## Part\n")
        self.assertEqual(page, f"# Page\n\nbefore\n\n{BEGIN}\nfacts\n\n### Part\n{END}\n\nafter\n")

    def test_copying_twice_is_copying_once(self):
        once = with_report(PAGE, "# Title\n\nnew\n")
        self.assertEqual(with_report(once, "# Title\n\nnew\n"), once)

    def test_a_page_without_marks_is_refused(self):
        with self.assertRaises(SystemExit):
            with_report("# Page\n", "# Title\n")


if __name__ == "__main__":
    unittest.main()
