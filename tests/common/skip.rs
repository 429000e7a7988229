//! Reports tests that cannot run on this machine, so that `make test` can count them.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that `what` is not tested here, and why: on stderr, and as a line of the file that
/// `TEST_SKIPS` names.
///
/// # Panics
/// Where the file cannot be written: a skip that nobody counts would be silent.
pub fn skipped(what: &str, why: &str) {
    // Not by eprintln: the harness keeps to itself what a passing test prints that way.
    let _no_terminal = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
    if let Some(file) = std::env::var_os("TEST_SKIPS") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).expect("TEST_SKIPS can be written");
        writeln!(file, "{what}: {why}").expect("TEST_SKIPS can be written");
    }
}
