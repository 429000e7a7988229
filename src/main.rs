//! `sotto`: arguments, a mode, an exit code. Everything else stands in the library.

fn main() -> std::process::ExitCode {
    sotto::cli::run()
}
