//! What is measured on.

/// How many it has for us.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the processor calls itself; the architecture where it does not say.
pub fn cpu() -> String {
    named_by_the_system().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(target_os = "macos")]
fn named_by_the_system() -> Option<String> {
    let said = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let name = String::from_utf8(said.stdout).ok()?;
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

#[cfg(not(target_os = "macos"))]
fn named_by_the_system() -> Option<String> {
    let about = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = about.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}
