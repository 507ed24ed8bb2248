//! Which files of a folder are the shards of an undescribed data set, by their names: one rule for whoever reads them. Pure.
//!
//! Shards of training and test images often lie side by side, and training on both is a mistake that nothing would show
//! later. So names that speak of several data sets are refused.

use std::collections::BTreeMap;

use lockstep_storage::Entry;
use snafu::ensure;

use crate::{
    Result,
    error::{MissingShardsSnafu, NoShardsSnafu, SeveralSetsSnafu},
};

/// Words in names that tell data sets of one collection apart.
const SPLITS: [&[&str]; 3] =
    [&["train", "training"], &["test", "testing"], &["val", "valid", "validation", "eval", "dev"]];

/// A data set's folder, and the pattern of its shards' names where the last part of `location` is one: where it has a `*`.
pub fn folder_and_pattern(location: &str) -> (&str, Option<&str>) {
    match location.rsplit_once('/') {
        Some((folder, name)) if name.contains('*') => (folder, Some(name)),
        None if location.contains('*') => (".", Some(location)),
        _ => (location, None),
    }
}

/// The shards among `files`, the content of the folder `uri`, in their order. With a `pattern`, in which `*` stands for any characters, those whose name
/// matches, of several data sets if it says so; else those with `tfrecord` or a number such as `-00000-of-00008` in their
/// name. Never those in further folders or with a name that begins with `.` or `_`.
///
/// # Errors
/// There are none, or they are of several data sets, or of one that is not whole.
pub fn select(uri: &str, files: Vec<Entry>, pattern: Option<&str>) -> Result<Vec<Entry>> {
    let mut files: Vec<_> = files.into_iter().filter(|file| is_plain(&file.path)).collect();
    let all = files.len();
    files.retain(|file| match pattern {
        Some(pattern) => matches(pattern, &file.path),
        None => file.path.to_ascii_lowercase().contains("tfrecord") || Numbered::parse(&file.path).is_some(),
    });
    ensure!(!files.is_empty(), NoShardsSnafu { uri, pattern: pattern.map(str::to_owned), files: all });
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if pattern.is_none() {
        check_one_set(uri, &names)?;
    }
    check_whole(uri, &names)?;
    Ok(files)
}

fn is_plain(path: &str) -> bool {
    !path.contains('/') && !path.starts_with(['.', '_'])
}

/// Whether `name` is `pattern` with something, or nothing, in place of each `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A name with `-00003-of-00008` in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbered<'a> {
    before: &'a str,
    shards: usize,
}

impl<'a> Numbered<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        name.match_indices("-of-").find_map(|(at, of)| {
            let (before, number) = name[..at].rsplit_once('-')?;
            let shards = &name[at + of.len()..];
            let shards = &shards[..shards.find(|c: char| !c.is_ascii_digit()).unwrap_or(shards.len())];
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(number) {
                return None;
            }
            Some(Self { before, shards: shards.parse().ok()? })
        })
    }
}

fn check_one_set(uri: &str, names: &[&str]) -> Result<()> {
    let mut sets: BTreeMap<Option<usize>, &str> = BTreeMap::new();
    for name in names {
        let lower = name.to_ascii_lowercase();
        let mut words = lower.split(|c: char| !c.is_ascii_alphabetic());
        let split = words.find_map(|word| SPLITS.iter().position(|split| split.contains(&word)));
        sets.entry(split).or_insert(name);
    }
    let mut numbered: BTreeMap<&str, &str> = BTreeMap::new();
    for name in names {
        let before = Numbered::parse(name).map_or("", |numbered| numbered.before);
        numbered.entry(before).or_insert(name);
    }
    let firsts: Vec<&str> =
        if sets.len() > 1 { sets.into_values().collect() } else { numbered.into_values().collect() };
    let names = firsts
        .into_iter()
        .map(|name| Numbered::parse(name).map_or(name, |numbered| numbered.before).to_owned());
    let names: Vec<String> = names.collect();
    ensure!(names.len() == 1, SeveralSetsSnafu { uri, names });
    Ok(())
}

fn check_whole(uri: &str, names: &[&str]) -> Result<()> {
    let mut sets: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for Numbered { before, shards } in names.iter().filter_map(|name| Numbered::parse(name)) {
        let (found, expected) = sets.entry(before).or_default();
        *found += 1;
        *expected = shards.max(*expected);
    }
    for (name, (found, expected)) in sets {
        ensure!(found == expected, MissingShardsSnafu { uri, name, found, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Error;

    fn select_names(names: &[&str], pattern: Option<&str>) -> Result<Vec<String>> {
        let entry = |name: &&str| Entry { path: (*name).to_owned(), size: 0, modified: None };
        let selected = select("file:///data", names.iter().map(entry).collect(), pattern)?;
        Ok(selected.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn a_pattern_is_a_last_part_with_a_star() {
        assert_eq!(folder_and_pattern("s3://data/set/train*"), ("s3://data/set", Some("train*")));
        assert_eq!(folder_and_pattern("train-*"), (".", Some("train-*")));
        for folder in ["s3://data/set", "/data/a*/set", "set"] {
            assert_eq!(folder_and_pattern(folder), (folder, None));
        }
    }

    #[test]
    fn names_that_tensorflows_users_give_are_shards_and_others_are_not() {
        for shards in [
            &["cifar10-train.tfrecord-00000-of-00002", "cifar10-train.tfrecord-00001-of-00002"][..],
            &["train-00000-of-00002", "train-00001-of-00002"],
            &["a.tfrecord", "b.tfrecords.gz", "c.TFRecord"],
            &["part-00000-5f0e.tfrecord", "part-00001-5f0e.tfrecord.gz"],
        ] {
            let others =
                ["_SUCCESS", ".x.tfrecord.crc", "dataset_info.json", "deeper/d.tfrecord", "label.labels.txt"];
            let names: Vec<_> = shards.iter().chain(&others).copied().collect();
            assert_eq!(select_names(&names, None).unwrap(), shards);
        }
    }

    #[test]
    fn a_pattern_says_which_files_are_shards() {
        let names = ["part-r-00000", "part-r-00001", "test-00000-of-00001", "train-00000-of-00001"];
        assert_eq!(select_names(&names, Some("part-*")).unwrap(), names[..2]);
        assert_eq!(select_names(&names, Some("*train*")).unwrap(), names[3..]);
        assert_eq!(select_names(&names, Some("part-r-00001")).unwrap(), names[1..2]);
        let error = select_names(&names, Some("*.tfrecord")).unwrap_err();
        assert!(matches!(&error, Error::NoShards { files: 4, .. }), "{error:?}");
        assert!(error.to_string().contains(r#"none of its 4 files matches "*.tfrecord""#), "{error}");
    }

    #[test]
    fn shards_of_several_data_sets_are_refused_with_the_pattern_of_one() {
        for (names, first) in [
            (
                &["cifar10-test.tfrecord-00000-of-00001", "cifar10-train.tfrecord-00000-of-00001"][..],
                "cifar10-train.tfrecord",
            ),
            (&["test.tfrecord", "train.tfrecord"], "train.tfrecord"),
            (&["train.tfrecord", "other.tfrecord"], "other.tfrecord"),
            (&["a-00000-of-00001", "b-00000-of-00001"], "a"),
            (&["a.tfrecord", "x-00000-of-00001.tfrecord"], "a.tfrecord"),
        ] {
            let error = select_names(names, None).unwrap_err();
            assert!(matches!(&error, Error::SeveralSets { names, .. } if names.len() == 2), "{error:?}");
            assert!(error.to_string().ends_with(&format!("by a pattern: file:///data/{first}*")), "{error}");
        }
    }

    #[test]
    fn a_data_set_that_lacks_a_shard_is_refused() {
        let error = select_names(&["train-00000-of-00003", "train-00002-of-00003"], None).unwrap_err();
        assert!(matches!(error, Error::MissingShards { found: 2, expected: 3, .. }), "{error:?}");
        let error = select_names(&["train-00000-of-99999999999999999999"], None).unwrap_err();
        assert!(matches!(error, Error::NoShards { .. }), "{error:?}");
    }

    proptest! {
        #[test]
        fn a_name_matches_whatever_pattern_it_was_made_from(
            parts in prop::collection::vec("[ab.-]{0,3}", 1..5), between in prop::collection::vec("[ab.-]{0,3}", 4),
        ) {
            let pattern = parts.join("*");
            let name: String = parts.iter().enumerate().flat_map(|(i, part)| {
                [if i == 0 { "" } else { between[i - 1].as_str() }, part.as_str()]
            }).collect();
            prop_assert!(matches(&pattern, &name), "{pattern:?} {name:?}");
        }

        #[test]
        fn any_names_are_selected_or_refused(names in prop::collection::vec("[a-z0-9._/-]{1,30}|train-[0-9]{1,5}-of-[0-9]{1,25}", 0..5)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Ok(selected) = select_names(&names, None) {
                prop_assert!(!selected.is_empty() && selected.iter().all(|name| names.contains(&name.as_str())));
            }
        }
    }
}
