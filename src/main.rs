//! Program `sotto`: parses the arguments, runs a command, and returns its exit code. Everything
//! else is in the library.

fn main() -> std::process::ExitCode {
    sotto::cli::run()
}
