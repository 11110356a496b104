//! Transcripts of the command line: what is said of wrong arguments, and the exit codes.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
