//! Shell completions and manual pages, generated from the definition of the command line.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{Man, roff::Roff, roff::roman};

use super::args::{Args, ENVIRONMENT, EXIT_CODES, FILES};

/// Error for the manual page of a command that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no command \"{0}\"; \"sotto --help\" lists them")]
pub struct NoSuchCommand(String);

/// Writes the completions for a shell.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    // Rendered to memory first: the generator panics if it writes to a pipe whose reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::described(), "sotto", &mut script);
    out.write_all(&script)
}

/// Renders the manual page of sotto, or of one of its commands (`["models", "pull"]`), as roff.
pub fn man(path: &[String]) -> Result<Vec<u8>, NoSuchCommand> {
    let mut root = Args::described();
    root.build();
    let mut command = &root;
    for name in path {
        command = command.find_subcommand(name).ok_or_else(|| NoSuchCommand(path.join(" ")))?;
    }
    let mut page = Vec::new();
    // Writing to memory does not fail.
    render(command, path.is_empty(), &mut page).map_err(|_| NoSuchCommand(path.join(" ")))?;
    Ok(page)
}

fn render(command: &Command, is_root: bool, page: &mut Vec<u8>) -> io::Result<()> {
    // The exit codes get a section of their own in the page.
    let name = command.get_display_name().unwrap_or("sotto").to_owned();
    let man = Man::new(command.clone().display_name(name).after_long_help("")).manual("Sotto");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    table("EXIT STATUS", &EXIT_CODES).to_writer(page)?;
    if is_root {
        table("ENVIRONMENT", &ENVIRONMENT).to_writer(page)?;
        table("FILES", &FILES).to_writer(page)?;
        man.render_version_section(page)?;
    }
    Ok(())
}

fn table(title: &str, rows: &[(&str, &str)]) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [title]);
    for (term, meaning) in rows {
        section.control("TP", []);
        section.text([clap_mangen::roff::bold(*term)]);
        section.text([roman(*meaning)]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let page = |words: &[&str]| {
            let path: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            man(&path).map(|page| String::from_utf8(page).unwrap())
        };
        let root = page(&[]).unwrap();
        for part in ["EXIT STATUS", "ENVIRONMENT", "130", "NO_COLOR", "once"] {
            assert!(root.contains(part), "{part}");
        }
        let pull = page(&["models", "pull"]).unwrap();
        assert!(pull.contains("profile") && pull.contains("EXIT STATUS"), "{pull}");
        assert!(page(&["models", "eat"]).is_err());
        for path in all_commands(&Args::described()) {
            assert!(man(&path).is_ok_and(|page| !page.is_empty()), "{path:?}");
        }
    }

    fn all_commands(command: &Command) -> Vec<Vec<String>> {
        let of = |sub: &Command| {
            let below = all_commands(sub).into_iter().map(|path| [vec![sub.get_name().to_owned()], path].concat());
            below.collect::<Vec<_>>()
        };
        std::iter::once(Vec::new()).chain(command.get_subcommands().flat_map(of)).collect()
    }

    #[test]
    fn every_shell_gets_completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut script = Vec::new();
            completions(shell, &mut script).unwrap();
            assert!(String::from_utf8(script).unwrap().contains("transcribe"), "{shell}");
        }
    }
}
