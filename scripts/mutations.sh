#!/usr/bin/env bash
# Breaks the protocol's rules in a copy of the source, one after the other, and fails unless the simulation finds each.
#   scripts/mutations.sh [SEEDS]     schedules of each kind for each broken rule; default 100
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$REPOSITORY"

copy=$REPOSITORY/target/mutations/source
export LOCKSTEP_SIM_SEEDS=${1:-100}
# The copy's crates have the names of ours: they must not meet in one build folder.
export CARGO_TARGET_DIR=$REPOSITORY/target/mutations/build CARGO_BUILD_BUILD_DIR=$REPOSITORY/target/mutations/build
simulation=(cargo test --locked --package lockstep-collective --test simulation)
survivors=0

mutate() { # RULE FILE OLD NEW
  local rule=$1 file source mutant tests
  file=trainer/collective/src/$2
  source=$(< "$file")
  mutant=${source/"$3"/"$4"}
  [ "$source" != "$mutant" ] || fail "$2 has no «$3»: adapt this script"
  printf '%s\n' "$mutant" > "$file"
  "${simulation[@]}" --no-run 2> "$copy.log" || fail "$2 does not compile without the rule «$rule»: $(tail -20 "$copy.log")"
  if "${simulation[@]}" > "$copy.log" 2>&1; then
    printf 'NOT FOUND  %s\n' "$rule"
    survivors=$((survivors + 1))
  else
    tests=$(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$copy.log" | head -2 | paste -sd ' ')
    [ -n "$tests" ] || fail "the simulation without «$rule» failed, but none of its tests: $(tail -20 "$copy.log")"
    printf 'found      %s: %s\n' "$rule" "$tests"
  fi
  printf '%s\n' "$source" > "$file"
}

rm -rf "$copy"
mkdir -p "$copy"
cp -r Cargo.toml Cargo.lock crds operator tests trainer "$copy"
cd "$copy"
say "the simulation of broken rules, $LOCKSTEP_SIM_SEEDS schedules of each kind"

mutate "a sum belongs to one round" core/training.rs "view.round.as_mut().filter(|round| round.number == number)" "view.round.as_mut()"
mutate "a lesser ballot is not promised" core/ballots.rs "if ballot <= self.promised {" "if false {"
mutate "a view is entered over the connections of its promise" core/ballots.rs \
  "pending.connections.get(&member.index) == connection" "connection.is_some() || member.index == self.config.index"
mutate "no round begins that a member will not finish" core/membership.rs "version >= view.stopped" "version > view.stopped"
mutate "nobody works on beside who is further" core/membership.rs "self.overtaken_by().any(|index| !view.has(index))" "false"
mutate "unequal states are given up" core/ballots.rs "if equal.iter().any(|(_, _, other)| *other != hash) {" "if false {"
mutate "too few do not train" core/ballots.rs "equal.len() >= self.min_members()" "!equal.is_empty()"
mutate "the last to leave saves the state" core/leaving.rs "if saved >= Some(version) {" "if saved.is_some() {"
mutate "silence is an end" core/links.rs "self.now >= peer.heard + silence" "self.now >= peer.heard + 1000 * silence"
mutate "all members share the leaves alike" core/training.rs "view.shares.revise(leaves, &paces);" \
  "let ours = view.rank; view.shares.revise(leaves, &paces.iter().enumerate().map(|(rank, pace)| if rank == ours { 1 } else { *pace }).collect::<Vec<_>>());"

cd "$REPOSITORY"
rm -rf "$copy" "$copy.log"
[ "$survivors" = 0 ] || fail "$survivors broken rules were not found"
