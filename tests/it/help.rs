//! Help and version.

use crate::{bare, run};

#[test]
fn help_fits_one_screen() {
    let run = run(bare().arg("-h")).ends(0).quiet();
    assert!(run.out.lines().count() <= 48, "{}", run.out);
    assert!(
        run.out.lines().all(|line| line.chars().count() <= 100),
        "{}",
        run.out
    );
    assert!(run.out.contains("Usage: haiku [OPTIONS] [PROMPT]..."));
}

#[test]
fn long_help_names_statuses_and_variables() {
    let run = run(bare().arg("--help")).ends(0).quiet();
    for part in ["Exit status", "CLOUDFLARE_API_TOKEN_FILE", "141"] {
        assert!(run.out.contains(part), "{part} in {}", run.out);
    }
}

#[test]
fn version_is_the_packages() {
    let version = format!("haiku {}\n", env!("CARGO_PKG_VERSION"));
    run(bare().arg("--version"))
        .ends(0)
        .quiet()
        .prints(&version);
    run(bare().arg("-V")).ends(0).quiet().prints(&version);
}
